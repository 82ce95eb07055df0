"""Divergence as an endpoint of its own: which candidate diverges more often, by paired blocks.

The mean of a candidate with diverged trials describes none of its runs, hence this endpoint. Only
trials that diverged count: a failure of the machine is no result of the candidate.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from scipy import special

from tracking.compare.analysis import Question
from tracking.compare.blocks import Blocks
from tracking.compare.result import Divergence
from tracking.stats.multiplicity import holm


def mcnemar_p(only_first: int, only_second: int) -> float | None:
    """Test that either arm is as likely to be the only one of a block that diverges.

    Two-sided and exact: the binomial test of the discordant blocks against one half (McNemar
    1947). None without any.
    """
    n = only_first + only_second
    if n == 0:
        return None
    return min(1.0, 2 * float(special.bdtr(min(only_first, only_second), n, 0.5)))


def compare_divergence(
    blocks: Blocks,
    questions: Sequence[Question],
    alpha: float,
    waiting: Collection[Question] = (),
) -> tuple[Divergence, ...]:
    """Compare how often the two candidates of every question diverge, over all workloads.

    The p-values are adjusted over the questions, a family of their own, by Holm. Those that are
    `waiting` for trials count in it and have no answer.
    """
    counted = [_count(blocks, question) for question in questions]
    adjusted = holm([None if one.question in waiting else one.p for one in counted])
    return tuple(
        _judge(replace(one, p_adjusted=p), alpha)
        for one, p in zip(counted, adjusted, strict=True)
        if one.question not in waiting
    )


def _count(blocks: Blocks, question: Question) -> Divergence:
    ends: Counter[tuple[bool, bool]] = Counter()  # of pairs: (candidate, baseline) diverged
    for workload in blocks.workloads:
        first = blocks.ended_trials(workload, question.candidate)
        second = blocks.ended_trials(workload, question.baseline)
        ends.update(
            (first[block].state == "diverged", second[block].state == "diverged")
            for block in first.keys() & second.keys()
        )
    only_candidate, only_baseline, both = ends[True, False], ends[False, True], ends[True, True]
    return Divergence(
        question=question,
        n=ends.total(),
        candidate=only_candidate + both,
        baseline=only_baseline + both,
        only_candidate=only_candidate,
        only_baseline=only_baseline,
        p=mcnemar_p(only_candidate, only_baseline),
    )


def _judge(one: Divergence, alpha: float) -> Divergence:
    if one.candidate == one.baseline == 0:
        return replace(one, word="none")
    if one.p_adjusted is None or one.p_adjusted > alpha:
        return one
    return replace(one, word="worse" if one.only_candidate > one.only_baseline else "better")
