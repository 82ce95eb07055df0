"""What is found for each question, in sentences: the verdict, on the page and on the terminal.

Each says what was found, how sure it is, and why it is not more. Brings together what the
sections say; decides nothing.
"""

from typing import NamedTuple

from tracking.compare.analysis import Question
from tracking.compare.result import EXPLORATORY, Comparison, Difference
from tracking.report import across_datasets, divergence, time_to_target
from tracking.report.wording import (
    FLAGS,
    interval,
    measure,
    p_relation,
    quantity,
    signed,
    size,
    some,
    suffix,
)

_OPPOSITE = {"better": "worse", "worse": "better"}


class Finding(NamedTuple):
    """The word of a verdict, and the sentence that goes on from it."""

    word: str
    text: str


def findings(comparison: Comparison, question: Question) -> list[Finding]:
    """Return what is found on the workloads of the study: by endpoint, in time, in failures."""
    found: list[tuple[str, str]] = [
        (one.verdict, sentence(one, comparison))
        for one in comparison.pooled
        if one.question == question and one.verdict is not None
    ]
    found += [
        (one.word, time_to_target.sentence(one))
        for one in comparison.time_to_target.answers(question)[:1]
    ]
    found += [
        (one.word, divergence.sentence(one))
        for one in divergence.with_divergence(comparison)
        if one.question == question
    ]
    return [Finding(word, text.removeprefix(word).strip()) for word, text in found]


def findings_beyond(comparison: Comparison, question: Question) -> list[Finding]:
    """Return what is found about other data sets or workloads like those of the study."""
    return [
        Finding(one.word, across_datasets.sentence(one).removeprefix(one.word).strip())
        for one in across_datasets.claimable_answers(comparison)
        if one.question == question
    ]


def sentence(one: Difference, comparison: Comparison) -> str:
    """Say the verdict on one endpoint, how sure it is, and why it is not more."""
    head = f"{one.verdict} in {measure(one.measure)}"
    if EXPLORATORY in one.flags:
        head = f"{one.verdict} (exploratory) in {measure(one.measure)}"
    if one.lower_is_better:
        head += " (lower is better; + means lower)"
    if "mixed units" in one.flags:
        return f"{head}: {FLAGS['mixed units'].replace('The', 'the', 1)}"
    estimate, unit = one.estimate, one.unit
    if estimate.kind == "undefined" and "no AUC" in one.flags:
        return f"{head}: fewer than two blocks have curves over the same steps."
    if estimate.kind == "undefined":
        return f"{head}: every workload has fewer than two complete blocks."
    if estimate.kind == "identical":
        return f"{head}: all {estimate.n} differences are exactly zero, so there is no p-value."
    if estimate.kind == "degenerate":
        return (
            f"{head}: {signed(estimate.mean, unit)}{suffix(unit)}, but the {estimate.n} "
            "differences have no spread that would estimate the error; more seeds are needed."
        )
    parts = [f"{head}: {_numbers(one, comparison)}.", *_exceptions(one, comparison)]
    return " ".join([*parts, *_reasons(one, comparison)])


def _numbers(one: Difference, comparison: Comparison) -> str:
    """Give the difference, its range over workloads, how sure it is, and what it rests on."""
    singles = _singles(one, comparison)
    text = f"{signed(one.estimate.mean, one.unit)}{suffix(one.unit)}"
    between = ", "
    if len(singles) > 1:
        low, high = (
            pick(singles, key=lambda row: row.estimate.mean or 0.0) for pick in (min, max)
        )
        text += (
            f" on average, from {signed(low.estimate.mean, low.unit)} on {low.workload} "
            f"to {signed(high.estimate.mean, high.unit)} on {high.workload}"
        )
        between = "; "
    if one.estimate.low is not None:
        text += f"{between}95% CI {interval(one.estimate, one.unit)}"
        between = ", "
    return f"{text}{between}adjusted p {p_relation(one.p_adjusted)}, {_basis(one, singles)}"


def _exceptions(one: Difference, comparison: Comparison) -> list[str]:
    """Name the workloads whose own verdict is not that of the average."""
    singles = _singles(one, comparison)
    if len(singles) < 2:
        return []
    named = {
        word: [row.workload or "" for row in singles if row.verdict == word]
        for word in _OPPOSITE
        if word != one.verdict
    }
    but = [f"{word} on {some(names)}" for word, names in named.items() if names]
    return [f"But {', and '.join(but)}, each taken alone."] if but else []


def _singles(one: Difference, comparison: Comparison) -> list[Difference]:
    """Return the answers of the workloads that were pooled into an answer."""
    return [
        row
        for row in comparison.by_workload
        if (row.question, row.endpoint) == (one.question, one.endpoint)
        and row.workload in one.workloads
    ]


def _basis(one: Difference, singles: list[Difference]) -> str:
    """Say how many seeds an answer rests on, and at which look if there are several."""
    counts = [row.estimate.n for row in singles] or [one.estimate.n]
    each = quantity(counts[0], "seed")
    if min(counts) < max(counts):
        each = f"{min(counts)} to {max(counts)} seeds"
    text = each if len(counts) == 1 else f"{each} on each of {len(counts)} workloads"
    if one.reached is not None and one.reached.look == 0:
        return f"{text} so far: before the first look is complete, nothing is decided"
    if one.reached is not None:
        text += f" at look {one.reached.look} of {len(one.reached.seeds)}"
    return text


def _reasons(one: Difference, comparison: Comparison) -> list[str]:
    """Say what a verdict means that is not plain, and why it is not more."""
    if one.verdict == "equivalent":
        margin = f"±{comparison.margin(one):g}{suffix(one.unit)}"
        p = p_relation(one.equivalence_p)
        return [f"Surely within {margin} by two one-sided tests, adjusted p {p}."]
    if one.verdict != "undecided" or (one.reached is not None and one.reached.look == 0):
        return [FLAGS["sign-flip disagrees"]] * ("sign-flip disagrees" in one.flags)
    reasons = [FLAGS["rests on collapse"]] * ("rests on collapse" in one.flags)
    if not reasons:
        reasons = [_why_undecided(one, comparison)]
    if one.smallest_detectable is not None and len(reasons) == 1:
        reasons.append(
            "With this spread and so many seeds, a true difference of "
            f"{size(one.smallest_detectable, one.unit)}{suffix(one.unit)} is found with 80% power."
        )
    return reasons


def _why_undecided(one: Difference, comparison: Comparison) -> str:
    low, high, p = one.estimate.low, one.estimate.high, one.estimate.p
    if low is None or high is None or low <= 0 <= high or p is None or p > comparison.alpha:
        return "The interval holds 0: the data fit a gain, a loss and no difference."
    others = "the other exploratory answers"
    if EXPLORATORY not in one.flags:
        others = f"the {quantity(comparison.family, 'test')} of the study"
    return f"Taken alone this would count; adjusted for {others} it does not."
