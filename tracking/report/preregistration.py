"""What was agreed on beforehand, look by look, and in what a study has left it: words and tables.

Text cells, as in `tables`; decides nothing.
"""

from datetime import UTC, datetime

from tracking.compare.result import Comparison
from tracking.report.tables import Table
from tracking.report.wording import (
    MEASURES,
    interval,
    measure,
    number,
    p_value,
    signed,
    small_p,
    title,
    verdict_words,
)

_LATE = "Registered late"


def ledger(comparison: Comparison) -> Table:
    """Every question and endpoint at every look: what was found, and what it took to stop."""
    units = {(one.question, one.endpoint): one.unit for one in comparison.pooled}
    return Table(
        caption="Look by look",
        header=(
            "question",
            "endpoint",
            "look",
            "seeds",
            "information",
            "pairs",
            "Δ",
            "t (df)",
            "p",
            "limit",
            "p over looks",
            "Holm p",
            "decision",
        ),
        rows=tuple(
            (
                title(one.question),
                MEASURES.get(one.endpoint, one.endpoint).split(" (")[0],
                str(one.look),
                str(one.seeds),
                f"{one.fraction:.2f}",
                str(one.n),
                signed(one.mean, units[one.question, one.endpoint]),
                number(None) if one.t is None else f"{one.t:.2f} ({one.df:.1f})",
                small_p(one.p),
                small_p(one.limit),
                p_value(one.p_repeated),
                p_value(one.p_adjusted),
                one.word,
            )
            for one in comparison.ledger
        ),
    )


def looks_sentence(comparison: Comparison) -> str:
    """Say how looks keep the level."""
    looks = comparison.looks
    if looks is None:
        return ""
    shape = "O'Brien and Fleming" if looks.shape == "obrien-fleming" else "Pocock"
    return (
        f"Looks at {', '.join(map(str, looks.seeds))} seeds were declared beforehand, with limits "
        f"in the manner of {shape}; a candidate gets more seeds only while a question about it is "
        "undecided. Limit: what p must not exceed at that look for Holm's strictest step. p over "
        "looks: the least repeated p-value so far, which holds at whatever look one stops."
    )


def saved_sentence(comparison: Comparison) -> str:
    """Say what the looks have spared; empty where they have not."""
    saved = comparison.saved
    if saved is None or not saved.trials:
        return ""
    said = (
        f"Spared: {saved.trials} of {saved.of} trials, about {_hours(saved.hours)} {saved.unit} "
        f"({_hours(saved.spent_hours)} were spent)"
    )
    if saved.unknown:
        said += f"; of {saved.unknown} of them nothing is known that would tell how long"
    return f"{said}."


def registration(comparison: Comparison) -> Table:
    """The analysis as it was frozen."""
    found = comparison.registration
    if found is None:
        return Table("Analysis", ("what", "as agreed"), ())
    agreed = found.analysis
    targets = [f"{name} {t:.6g}" for name, t in agreed.targets.items() if t is not None]
    rows = (
        ("sha256", found.hash),
        ("frozen", _time(found.time_ms)),
        ("trials begun by then", str(found.started)),
        ("questions", "; ".join(title(one) for one in agreed.questions)),
        ("endpoints", "; ".join(MEASURES.get(one, one) for one in agreed.endpoints)),
        ("error budget", f"{agreed.alpha:g} for the family, by Holm, two-sided"),
        ("margin of equivalence", f"±{agreed.rope_pp:g} pp"),
        ("workloads", ", ".join(agreed.workloads)),
        ("candidates", ", ".join(agreed.candidates)),
        ("seeds", f"{_numbers(agreed.blocks)} of root seed {agreed.root_seed}"),
        ("looks", ", ".join(map(str, agreed.looks)) or "one, at all seeds"),
        ("limits", agreed.shape if agreed.looks else number(None)),
        ("targets", ", ".join(targets) or "none"),
        ("exclusions", "; ".join(agreed.exclusions)),
        ("training code", agreed.code or number(None)),
    )
    return Table("Analysis", ("what", "as agreed"), rows)


def registration_sentence(comparison: Comparison) -> str:
    """Say when the analysis was agreed on."""
    found = comparison.registration
    if found is None:
        return (
            "No analysis is on record from before these trials: questions, endpoints and levels "
            "may have been chosen after looking at them."
        )
    if found.started:
        return (
            f"{_LATE}: {found.started} trials of the comparison had begun when this analysis was "
            "frozen."
        )
    return "This analysis was frozen before the first trial of the comparison began."


def targets_sentence(comparison: Comparison) -> str:
    """Say where the targets are from."""
    found = comparison.registration
    if found is None or found.started:
        return (
            "A target is that of the sweep; that it was set before these trials ran is not "
            "recorded."
        )
    return "The targets were frozen with the analysis, before these trials ran."


def deviations(comparison: Comparison) -> tuple[str, ...]:
    """List in what the study has left the analysis that was frozen."""
    return () if comparison.registration is None else comparison.registration.deviations


def table_with_additions(comparison: Comparison) -> Table:
    """The pooled answers of all trials, those that were added later among them."""
    return Table(
        caption="With all that was added later, for exploration",
        header=("question", "endpoint", "pairs", "Δ [95% CI]", "p", "p adj.", "would be"),
        rows=tuple(
            (
                title(one.question),
                measure(one).split(" (")[0],
                str(one.estimate.n),
                f"{signed(one.estimate.mean, one.unit)} {interval(one.estimate, one.unit)}",
                p_value(one.estimate.p),
                p_value(one.p_adjusted),
                f"({verdict_words(one)})",
            )
            for one in comparison.later
        ),
    )


def lines(comparison: Comparison) -> list[str]:
    """Return what a terminal says of it: what was spared, and every deviation."""
    said = [saved_sentence(comparison)] if saved_sentence(comparison) else []
    found = comparison.registration
    if found is not None:
        late = f", {found.started} trials had begun" if found.started else ""
        said.append(f"Analysis frozen {_time(found.time_ms)}{late}: sha256 {found.hash[:16]}.")
    said += [f"Deviation: {one}." for one in deviations(comparison)]
    return said


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _hours(hours: float) -> str:
    return f"{hours:.1f}" if hours >= 10 else f"{hours:.2g}"


def _numbers(blocks: tuple[int, ...]) -> str:
    first, last = min(blocks), max(blocks)
    whole = len(blocks) > 1 and last - first == len(blocks) - 1
    return f"{first} to {last}" if whole else ", ".join(map(str, blocks))
