"""The table of faults done and results lost."""

from collections.abc import Collection

from verdict import Verdict


def table(verdicts: Collection[Verdict], trials: int) -> str:
    """Return it for several chaos runs of studies with so many trials each."""
    kinds = sorted({kind for v in verdicts for kind in (*v.faults, *v.missed)})
    rows = [
        (
            kind,
            sum(v.faults.get(kind, 0) for v in verdicts),
            sum(v.missed.get(kind, 0) for v in verdicts),
        )
        for kind in kinds
    ]
    total = sum(count for _, count, _ in rows)
    lines = [f"{'fault':<34} {'injected':>8} {'missed':>8}"]
    lines += [f"{kind:<34} {count:>8} {missed:>8}" for kind, count, missed in rows]
    lines += [f"{'all':<34} {total:>8} {sum(missed for _, _, missed in rows):>8}"]
    attempts = sum(v.attempts for v in verdicts)
    lost, wrong = sum(v.lost for v in verdicts), sum(len(v.wrong) for v in verdicts)
    lines.append(
        f"{trials * len(verdicts)} trials in {attempts} attempts; "
        f"results lost or changed: {lost}; anything else wrong: {max(0, wrong - lost)}"
    )
    return "\n".join(lines)
