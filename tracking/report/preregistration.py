"""The analysis that was frozen beforehand, its looks, and the deviations from it.

Sentences and tables for the sections on looks and on pre-registration; decides nothing.
"""

from datetime import UTC, datetime

from tracking.compare.result import Comparison
from tracking.report.tables import Table
from tracking.report.wording import (
    MEASURES,
    interval,
    number,
    p_value,
    short_measure,
    signed,
    small_p,
    title,
    verdict_words,
)


def ledger(comparison: Comparison) -> Table:
    """Every question and endpoint at every look: what was found, and what it took to stop."""
    units = {(one.question, one.endpoint): one.unit for one in comparison.pooled}
    return Table.of(
        "Look by look",
        [
            {
                "question": title(one.question),
                "endpoint": MEASURES.get(one.endpoint, one.endpoint).partition(" (")[0],
                "look": str(one.look),
                "seeds": str(one.seeds),
                "information": f"{one.fraction:.2f}",
                "pairs": str(one.n),
                "Δ": signed(one.mean, units[one.question, one.endpoint]),
                "t (df)": number(None) if one.t is None else f"{one.t:.2f} ({one.df:.1f})",
                "p": small_p(one.p),
                "limit": small_p(one.limit),
                "p over looks": p_value(one.p_repeated),
                "Holm p": p_value(one.p_adjusted),
                "decision": one.word,
            }
            for one in comparison.ledger
        ],
    )


def looks_sentence(comparison: Comparison) -> str:
    """Say how looks keep the error level."""
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
    """Say how many trials the looks made unnecessary; empty if none."""
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
    frozen = found.analysis
    targets = [f"{name} {t:.6g}" for name, t in frozen.targets.items() if t is not None]
    rows = (
        ("sha256", found.hash),
        ("frozen", _time(found.time_ms)),
        ("trials begun by then", str(found.started)),
        ("questions", "; ".join(title(one) for one in frozen.questions)),
        ("endpoints", "; ".join(MEASURES.get(one, one) for one in frozen.endpoints)),
        ("error budget", f"{frozen.alpha:g} for the family, by Holm, two-sided"),
        ("margin of equivalence", f"±{frozen.rope_pp:g} pp"),
        ("workloads", ", ".join(frozen.workloads)),
        ("candidates", ", ".join(frozen.candidates)),
        ("seeds", f"{_numbers(frozen.blocks)} of root seed {frozen.root_seed}"),
        ("looks", ", ".join(map(str, frozen.looks)) or "one, at all seeds"),
        ("limits", frozen.shape if frozen.looks else number(None)),
        ("targets", ", ".join(targets) or "none"),
        ("exclusions", "; ".join(frozen.exclusions)),
        ("training code", frozen.code or number(None)),
    )
    return Table("Analysis", ("what", "as agreed"), rows)


def registration_sentence(comparison: Comparison) -> str:
    """Say when the analysis was frozen, or that none was."""
    found = comparison.registration
    if found is None:
        return (
            "No analysis is on record from before these trials: questions, endpoints and levels "
            "may have been chosen after looking at them."
        )
    if found.started:
        return (
            f"Registered late: {found.started} trials of the comparison had begun when this "
            "analysis was frozen."
        )
    return "This analysis was frozen before the first trial of the comparison began."


def targets_sentence(comparison: Comparison) -> str:
    """Say if the targets were set before the trials ran."""
    found = comparison.registration
    if found is None or found.started:
        return (
            "A target is that of the sweep; that it was set before these trials ran is not "
            "recorded."
        )
    return "The targets were frozen with the analysis, before these trials ran."


def deviations(comparison: Comparison) -> tuple[str, ...]:
    """List in what the study deviates from the analysis that was frozen."""
    return () if comparison.registration is None else comparison.registration.deviations


def table_with_additions(comparison: Comparison) -> Table:
    """The pooled answers of all trials, those that were added later among them."""
    return Table.of(
        "With all that was added later, for exploration",
        [
            {
                "question": title(one.question),
                "endpoint": short_measure(one),
                "pairs": str(one.estimate.n),
                "Δ [95% CI]": (
                    f"{signed(one.estimate.mean, one.unit)} {interval(one.estimate, one.unit)}"
                ),
                "p": p_value(one.estimate.p),
                "p adj.": p_value(one.p_adjusted),
                "would be": f"({verdict_words(one)})",
            }
            for one in comparison.later
        ],
    )


def lines(comparison: Comparison) -> list[str]:
    """Return the lines for a terminal: trials saved, the frozen analysis, every deviation."""
    said = [one for one in (saved_sentence(comparison),) if one]
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
