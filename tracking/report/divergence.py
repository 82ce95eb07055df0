"""How often each side of a question diverged, in words and as a table."""

from collections.abc import Mapping

from jobs.contract.quantities import quantity
from tracking.compare.result import Comparison, Divergence
from tracking.questions.units import LOST_BASELINE, LOST_CANDIDATE, TOO_FEW_UNITS
from tracking.report.tables import Table
from tracking.report.wording import p_relation, p_value, title
from tracking.stats.t_tests import proportion_interval

# Why nothing is tested, by the flag that says so.
_UNTESTED: Mapping[str, str] = {
    TOO_FEW_UNITS: "a word needs five seeds (or searches) in all, and three on each workload",
    LOST_CANDIDATE: "the candidate has lost trials by its own doing, so it is not called better",
    LOST_BASELINE: "the baseline has lost trials by its own doing, so it is not called better",
}


def sentence(one: Divergence) -> str:
    """Say how often each side diverged, and whether one does so more often."""
    text = (
        f"{one.word} in failures: "
        f"{one.question.candidate} diverged in {_share(one.candidate_diverged, one.n)}, "
        f"{one.question.baseline} diverged in {_share(one.baseline_diverged, one.n)}; "
    )
    if one.p is None:
        return f"{text}always in the same blocks, so nothing sets them apart."
    if one.p_adjusted is None:
        return text + "; ".join(why for flag, why in _UNTESTED.items() if flag in one.flags) + "."
    blocks = quantity(one.only_candidate + one.only_baseline, "block")
    return (
        f"{text}exact McNemar test on the {blocks} that set them apart, "
        f"adjusted p {p_relation(one.p_adjusted)}."
    )


def with_divergence(comparison: Comparison) -> tuple[Divergence, ...]:
    """Return the answered questions in which some trial diverged."""
    return tuple(
        one
        for one in comparison.divergence
        if one.word != "none" and not comparison.is_open(one.question)
    )


def table(comparison: Comparison) -> Table:
    """Return every question in which some trial diverged, counted over all workloads."""
    return Table.of(
        "Failures",
        [
            {
                "question": title(one.question),
                "candidate diverged [95% CI]": _share(one.candidate_diverged, one.n),
                "baseline diverged [95% CI]": _share(one.baseline_diverged, one.n),
                "only the candidate / baseline": f"{one.only_candidate} / {one.only_baseline}",
                "p": p_value(one.p),
                "p adj.": p_value(one.p_adjusted),
                "verdict": one.word,
            }
            for one in with_divergence(comparison)
        ],
    )


def _share(count: int, n: int) -> str:
    low, high = proportion_interval(count, n)
    return f"{count} of {n} [{100 * low:.0f}%, {100 * high:.0f}%]"
