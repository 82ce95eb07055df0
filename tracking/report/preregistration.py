"""The analysis that was frozen beforehand, its looks, and the deviations from it.

Sentences and tables for the sections on looks and on pre-registration; decides nothing.
"""

from datetime import UTC, datetime

from jobs.contract.quantities import quantity
from tracking.compare.result import Comparison
from tracking.questions.analysis import Analysis, FrozenVersion
from tracking.questions.endpoint import Endpoint
from tracking.report.tables import Table
from tracking.report.wording import (
    confidence,
    difference,
    measure,
    number,
    p_value,
    ranges,
    short_measure,
    signed,
    small_p,
    title,
    unit_noun,
    verdict_words,
)


def ledger(comparison: Comparison) -> Table:
    """Return every question and endpoint at every look: what was found, and the limit to stop."""
    units = {(one.question, one.endpoint): one.unit for one in comparison.pooled}
    return Table.of(
        "Look by look",
        [
            {
                "question": title(one.question),
                "endpoint": short_measure(one.endpoint.name),
                "look": f"{one.look}{', closed with trials missing' * one.closed}",
                "seeds": str(one.seeds),
                "information": f"{one.fraction:.2f}",
                "n": quantity(one.n, unit_noun(comparison, one.question)),
                "Δ": signed(one.mean, units[one.question, one.endpoint]),
                "t (df)": number(None) if one.t is None else f"{one.t:.2f} ({one.df:.1f})",
                "p": small_p(one.p),
                "limit": small_p(one.limit),
                "p over looks": p_value(one.p_repeated),
                "adjusted p": p_value(one.p_adjusted),
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
    text = (
        f"Spared: {saved.trials} of {saved.of} trials, about {_hours(saved.hours)} {saved.unit} "
        f"({_hours(saved.spent_hours)} were spent)"
    )
    if saved.unknown:
        text += f"; of {saved.unknown} of them nothing is known that would tell how long"
    return f"{text}."


_PRIMARY = {
    "mean": "the mean difference",
    "win_probability": "how often a candidate wins: wins and half ties in units, by workload",
}


def registration(comparison: Comparison) -> Table:
    """Return the analysis as it was frozen, a row for each of its parts; no row if none was."""
    record = comparison.registration
    if record is None:
        return Table("Analysis", ("what", "as agreed"), ())
    frozen = record.analysis
    targets = [f"{name} {t:.6g}" for name, t in frozen.targets.items() if t is not None]
    own = [_margin(name, frozen) for name in frozen.margins]
    rows = (
        ("sha256", record.hash),
        ("frozen", _time(record.time_ms)),
        *(("frozen before", _version(one)) for one in record.versions[:-1]),
        ("trials with results by then", str(record.started)),
        ("questions", "; ".join(title(one) for one in frozen.questions)),
        ("endpoints", "; ".join(map(_endpoint, frozen.endpoints))),
        ("error budget", f"{frozen.alpha:g} for the family, by Holm, two-sided{_attempt(frozen)}"),
        *((("earlier attempts", ", ".join(frozen.confirms)),) if frozen.confirms else ()),
        ("verdicts are about", _PRIMARY[frozen.primary]),
        ("margin of equivalence", "; ".join([f"±{frozen.rope_pp:g} pp", *own])),
        ("workloads", ", ".join(frozen.workloads)),
        ("candidates", ", ".join(frozen.candidates)),
        ("seeds", f"{ranges(frozen.blocks)} of root seed {frozen.root_seed}"),
        ("looks", ", ".join(map(str, frozen.looks)) or "one, at all seeds"),
        ("limits", frozen.shape if frozen.looks else number(None)),
        ("targets", ", ".join(targets) or "none"),
        ("exclusions", "; ".join(frozen.exclusions)),
        ("training code", frozen.code or number(None)),
    )
    return Table("Analysis", ("what", "as agreed"), rows)


def registration_sentence(comparison: Comparison) -> str:
    """Say when the analysis was frozen, or that none was."""
    record = comparison.registration
    if record is None:
        return (
            "No analysis is on record from before these trials: questions, endpoints and levels "
            "may have been chosen after looking at them."
        )
    if record.started:
        return (
            f"Registered late: {quantity(record.started, 'trial')} of the comparison had "
            "logged results when this analysis was frozen."
        )
    text = f"{confirmation_sentence(comparison)} ".lstrip()
    text += "This analysis was frozen before any trial of the comparison had logged a result"
    why = record.versions[-1].why if record.versions else ""
    return f"{text}; it replaces an earlier one, since {why} by then." if why else f"{text}."


def confirmation_sentence(comparison: Comparison) -> str:
    """Say what a study confirms, and at what level; empty if it confirms none."""
    record = comparison.registration
    if record is None or not record.analysis.confirms:
        return ""
    analysis = record.analysis
    first, *others = analysis.confirms
    earlier = f"; earlier attempts were {', '.join(others)}" if others else ""
    fresh = "seeds" if analysis.tuning is None else "seeds and searches"
    data = "test data" if comparison.any_of_user else "test images"
    return (
        f"This study asks the questions of {first} again, on {fresh} that no attempt has used "
        f"before, and pools nothing with it{earlier}. All attempts together keep within "
        f"{analysis.alpha * 2 ** len(analysis.confirms):g}: this is number "
        f"{len(analysis.confirms)}, at {analysis.alpha:g}. The {data} are the same as those of "
        "the earlier attempts."
    )


def _endpoint(one: Endpoint) -> str:
    """Name an endpoint with how it was declared to be read and asked about."""
    return str(one).replace(one.name, measure(one.name), 1)


def _margin(name: str, frozen: Analysis) -> str:
    """Name a margin in the unit of its endpoint; that of a time is a factor."""
    own, is_time = frozen.margins[name], short_measure(name) != measure(name) and " to " in name
    return f"{short_measure(name)} {f'{own:g}x' if is_time else f'±{own:g}'}"


def _attempt(frozen: Analysis) -> str:
    j = len(frozen.confirms)
    return f": attempt {j} to confirm, at {frozen.alpha * 2**j:g} / 2^{j}" if j else ""


def targets_sentence(comparison: Comparison) -> str:
    """Say whether the targets were set before the trials ran."""
    record = comparison.registration
    if record is None or record.started:
        return (
            "A target is that of the sweep; that it was set before these trials ran is not "
            "recorded."
        )
    return "The targets were frozen with the analysis, before these trials ran."


def deviations(comparison: Comparison) -> tuple[str, ...]:
    """Return each way in which the study deviates from the analysis that was frozen."""
    return () if comparison.registration is None else comparison.registration.deviations


def table_with_additions(comparison: Comparison) -> Table:
    """Return the pooled answers of all trials, those that were added later among them."""
    return Table.of(
        "With all that was added later, for exploration",
        [
            {
                "question": title(one.question),
                "endpoint": short_measure(one.measure),
                "n": quantity(one.estimate.n, unit_noun(comparison, one.question)),
                f"Δ [{confidence(comparison)}]": difference(one.estimate, one.unit),
                "p": p_value(one.estimate.p),
                "p adj.": p_value(one.p_adjusted),
                "would be": "not in yet"
                if one.verdict is None
                else f"({verdict_words(one, comparison)})",
            }
            for one in comparison.later
            if not comparison.is_open(one.question)
        ],
    )


def lines(comparison: Comparison) -> list[str]:
    """Return the lines for a terminal: trials saved, the frozen analysis, every deviation."""
    saved, record = saved_sentence(comparison), comparison.registration
    texts = [text for text in (saved, confirmation_sentence(comparison)) if text]
    if record is not None:
        late = f", {quantity(record.started, 'trial')} had results" if record.started else ""
        texts.append(f"Analysis frozen {_time(record.time_ms)}{late}: sha256 {record.hash[:16]}.")
        texts += [f"It replaces {_version(one)}." for one in record.versions[:-1]]
    return texts + [f"Deviation: {one}." for one in deviations(comparison)]


def _version(one: FrozenVersion) -> str:
    return f"{one.file} of {_time(one.time_ms)}, sha256 {one.hash}"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _hours(hours: float) -> str:
    return f"{hours:.1f}" if hours >= 10 else f"{hours:.2g}"
