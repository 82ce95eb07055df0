"""Answers about data sets like these, in words and as a table.

Never mixed with the answers about these data sets alone.
"""

from collections.abc import Mapping

from jobs.contract.quantities import quantity
from tracking.compare.result import AcrossDatasets, Comparison
from tracking.questions.units import LOST_BASELINE, LOST_CANDIDATE
from tracking.report.tables import Table
from tracking.report.wording import (
    confidence,
    kind,
    measure,
    middle_interval,
    number,
    p_relation,
    p_value,
    short_measure,
    signed,
    suffix,
    title,
)

_WORDS = ("better", "equivalent", "worse")


def sentence(one: AcrossDatasets, comparison: Comparison) -> str:
    """Say what an answer over data sets is, and how sure it is; only for one that is claimable."""
    unit = one.unit
    text = f"{one.word} in {measure(one.measure)}: ahead on {one.ahead}, behind on {one.behind}"
    if one.tied:
        text += f", level on {one.tied}"
    text += f" of {len(one.means)} data sets; "
    if one.middle is not None:
        text += (
            f"typical difference {signed(one.middle.estimate, unit)}{suffix(unit)}, "
            f"{confidence(comparison)}{middle_interval(one.middle, unit) or ' unbounded'}; "
        )
    known = one.p_adjusted is not None
    text += f"adjusted p {p_relation(one.p_adjusted)}." if known else "there is no p-value."
    if "rests on collapse" in one.flags:
        text += " It rests on diverged trials, so it is called undecided."
    question = one.question
    for flag, name in ((LOST_CANDIDATE, question.candidate), (LOST_BASELINE, question.baseline)):
        if flag in one.flags:
            text += f" {name} has lost trials by what training can cause, so it is not called "
            text += "better."
    return text


def claimable_answers(comparison: Comparison) -> tuple[AcrossDatasets, ...]:
    """Return the answers that this number of data sets can give."""
    return tuple(one for one in comparison.across_datasets if one.word != "not claimable")


def scope(comparison: Comparison) -> str:
    """Say what is, or why nothing can be, said of other data sets; empty without a question."""
    if not comparison.across_datasets:
        return ""
    first, what = comparison.across_datasets[0], kind(comparison)
    family = quantity(len(comparison.across_datasets), "test")
    tests = f"{comparison.alpha:g} with Holm over {family}"
    if claimable_answers(comparison):
        return (
            f"On {what} like these: the exact Wilcoxon signed-rank test over the mean difference "
            f"of each, at {tests} of its own. It holds as far as these {what} are a fair sample "
            "of the ones that are meant."
        )
    if "mixed units" in first.flags:
        return (
            f"Nothing is claimed about other {what}: differences in unlike units or directions "
            "have no common ranks."
        )
    count = max(len(one.means) for one in comparison.across_datasets)
    return (
        f"Nothing is claimed about other {what}: there {'is' if count == 1 else 'are'} {count}, "
        f"and the exact Wilcoxon test over {what} needs {first.needed} before it can "
        f"reach {tests}. More seeds are no substitute."
    )


def table(comparison: Comparison) -> Table:
    """Count the data sets behind each question and endpoint, and the words of workloads alone."""
    rows = [
        _count_data_sets(one, comparison)
        for one in comparison.across_datasets
        if not comparison.is_open(one.question)
    ]
    return Table.of("Over data sets", rows)


def _count_data_sets(one: AcrossDatasets, comparison: Comparison) -> Mapping[str, str]:
    rows = [
        row
        for row in comparison.by_workload
        if row.question == one.question and row.endpoint == one.endpoint
    ]
    middle = one.middle
    return {
        "question": title(one.question),
        "endpoint": short_measure(one.measure),
        "data sets": str(len(one.means)),
        "ahead / behind / level": f"{one.ahead} / {one.behind} / {one.tied}",
        "better / equivalent / worse alone": " / ".join(
            str(sum(row.verdict == word for row in rows)) for word in _WORDS
        ),
        f"typical Δ [{confidence(comparison)}]": number(None)
        if middle is None
        else signed(middle.estimate, one.unit) + middle_interval(middle, one.unit),
        "p": p_value(one.p),
        "p adj.": p_value(one.p_adjusted),
        "on data sets like these": one.word,
    }
