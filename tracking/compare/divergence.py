"""Divergence as an endpoint of its own: which candidate diverges more often, by paired blocks.

The mean of a candidate with diverged trials describes none of its runs, hence this endpoint. Only
trials that diverged count: a failure of the machine is no result of the candidate. If a unit has
several blocks, the two are compared by how often each diverged in it.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import compress
from math import inf
from typing import Literal

from scipy import special

from tracking.compare.blocks import Blocks
from tracking.compare.result import Divergence
from tracking.questions.analysis import Question
from tracking.questions.interim import Look, Looks, judge_family, take_looks
from tracking.questions.units import (
    LEAST_UNITS,
    LEAST_UNITS_EACH,
    LOST_BASELINE,
    LOST_CANDIDATE,
    TOO_FEW_UNITS,
)


def mcnemar_p(only_first: int, only_second: int) -> float | None:
    """Test that either arm is as likely to be the only one of a unit that diverges.

    Two-sided and exact: the binomial test of the discordant units against one half (McNemar
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
    looks: Looks | None = None,
) -> tuple[Divergence, ...]:
    """Compare how often the two candidates of every question diverge, over all workloads.

    The p-values are adjusted over the questions, a family of their own, by Holm; with looks they
    hold over all of them, and what a look has decided stays. Questions that are `waiting` for
    trials count in the family and have no answer; nor has one that can have no word an adjusted
    p-value.
    """
    histories = [
        [_count(blocks, question, look, looks) for look in take_looks(looks, question)]
        for question in questions
    ]

    judged = judge_family(
        histories,
        lambda one: one.p if one.question not in waiting and _may_decide(one) else None,
        lambda one, p: replace(one, p_adjusted=p, word=_direction(one)),
        lambda one, p: replace(one, p_adjusted=p, word=_open_word(one)),
        alpha,
    )
    return tuple(one for one in judged if one.question not in waiting)


def _count(
    blocks: Blocks, question: Question, reached: Look | None, looks: Looks | None
) -> Divergence:
    """Count divergences in the blocks of a look, and compare them unit by unit."""
    below = inf if reached is None or looks is None else looks.blocks(reached.look)
    trials, lost, sizes = [0, 0], [False, False], []
    more: Counter[int] = Counter()  # of units: 1 if the candidate diverged more often, -1 if less
    aheads: dict[str, dict[int, int]] = {}  # by what the seeds are of, and unit
    n = 0
    for workload in blocks.workloads:
        arms = [
            blocks.ended_trials(workload, name) for name in (question.candidate, question.baseline)
        ]
        ahead = aheads.setdefault(blocks.seeds.of[workload], {})
        for block in sorted(block for block in arms[0].keys() & arms[1].keys() if block < below):
            first, second = (arm[block].state == "diverged" for arm in arms)
            trials[0] += first
            trials[1] += second
            unit = blocks.units.number(question, block)
            ahead[unit] = ahead.get(unit, 0) + first - second
            n += 1
        for arm, name in enumerate((question.candidate, question.baseline)):
            lost[arm] |= any(block < below for block in blocks.lost_trials(workload, name))
    for ahead in aheads.values():
        more.update((surplus > 0) - (surplus < 0) for surplus in ahead.values())
        sizes.append(len(ahead))
    flags = list(compress((LOST_CANDIDATE, LOST_BASELINE), lost))
    least = LEAST_UNITS if len(sizes) == 1 else LEAST_UNITS_EACH
    if sum(sizes) < LEAST_UNITS or min(sizes) < least:
        flags.append(TOO_FEW_UNITS)
    p = mcnemar_p(more[1], more[-1])
    return Divergence(
        question=question,
        n=n,
        candidate_diverged=trials[0],
        baseline_diverged=trials[1],
        only_candidate=more[1],
        only_baseline=more[-1],
        p=p if p is None or reached is None else reached.p(p),
        reached=reached,
        flags=tuple(flags),
    )


def _may_decide(one: Divergence) -> bool:
    barred = {"better": LOST_CANDIDATE, "worse": LOST_BASELINE}[_direction(one)]
    return TOO_FEW_UNITS not in one.flags and barred not in one.flags


def _direction(one: Divergence) -> Literal["better", "worse"]:
    return "worse" if one.only_candidate > one.only_baseline else "better"


def _open_word(one: Divergence) -> Literal["undecided", "none"]:
    return "undecided" if one.candidate_diverged or one.baseline_diverged else "none"
