"""Failures as an endpoint of their own: which candidate diverges more often, by paired blocks.

A mean with one collapsed trial in it says little; how often trials collapse says it plainly. Only
trials that diverged count: what broke on the machine is no result of the candidate.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from scipy import special

from tracking.compare.analysis import Question
from tracking.compare.blocks import Blocks
from tracking.compare.result import Failures
from tracking.outcomes import Outcome
from tracking.stats.multiplicity import Adjustment


def mcnemar_p(only_first: int, only_second: int) -> float | None:
    """Test that either arm is as likely to be the only one of a block that fails.

    Two-sided and exact: the binomial test of the discordant blocks against one half (McNemar
    1947). None without any.
    """
    n = only_first + only_second
    if n == 0:
        return None
    return min(1.0, 2 * float(special.bdtr(min(only_first, only_second), n, 0.5)))


def failures(
    blocks: Blocks, questions: Sequence[Question], adjust: Adjustment, alpha: float
) -> tuple[Failures, ...]:
    """Compare how often the two candidates of every question diverge, over all workloads.

    The p-values are adjusted over the questions, a family of their own.
    """
    counted = [_counted(blocks, question) for question in questions]
    adjusted = adjust([one.p for one in counted])
    return tuple(
        _judged(replace(one, p_adjusted=p), alpha)
        for one, p in zip(counted, adjusted, strict=True)
    )


def _counted(blocks: Blocks, question: Question) -> Failures:
    ends = [
        (one.state == "diverged", other.state == "diverged")
        for workload in blocks.workloads
        for one, other in _pairs(blocks, question, workload)
    ]
    only_candidate = sum(first and not second for first, second in ends)
    only_baseline = sum(second and not first for first, second in ends)
    both = sum(first and second for first, second in ends)
    return Failures(
        question=question,
        n=len(ends),
        candidate=only_candidate + both,
        baseline=only_baseline + both,
        only_candidate=only_candidate,
        only_baseline=only_baseline,
        p=mcnemar_p(only_candidate, only_baseline),
        p_adjusted=None,
        word="undecided",
    )


def _pairs(blocks: Blocks, question: Question, workload: str) -> Iterator[tuple[Outcome, Outcome]]:
    first, second = (
        blocks.ended(workload, arm) for arm in (question.candidate, question.baseline)
    )
    yield from ((first[block], second[block]) for block in first if block in second)


def _judged(one: Failures, alpha: float) -> Failures:
    if one.candidate == one.baseline == 0:
        return replace(one, word="none")
    if one.p_adjusted is None or one.p_adjusted > alpha:
        return one
    return replace(one, word="worse" if one.only_candidate > one.only_baseline else "better")
