"""Time to target: how many steps each candidate needs, and by what factor one needs fewer.

A secondary endpoint beside the area under the curve, for workloads that declare a target. All
trials of a workload have one budget, and those that never reach the target count with all of it;
so the pairs of a block can be compared, with more power than two survival curves. If one arm
reaches it more often, the factor is a bound: the other would have taken longer than the budget.
Decides nothing about the primary endpoints.
"""

import contextlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean
from typing import Literal

import numpy as np

from tracking.compare.blocks import Blocks
from tracking.compare.endpoints import (
    EarlyEndError,
    StepsToTarget,
    UnmeasuredError,
    curve_spans,
    steps_to_target,
)
from tracking.questions.analysis import Question
from tracking.questions.interim import Look, Looks, judge_family, take_looks
from tracking.questions.units import (
    LEAST_UNITS,
    LEAST_UNITS_EACH,
    LOST_BASELINE,
    LOST_CANDIDATE,
    TOO_FEW_UNITS,
    SeedGroups,
    Units,
    count_units,
)
from tracking.stats.survival import log_rank_p, median_time, restricted_mean
from tracking.stats.t_tests import Estimate, at_level, paired_t, stratified_t

SpeedWord = Literal["faster", "slower", "undecided", "not reached", "not estimable"]
Bound = Literal["at least", "at most"]

# The word that an arm with lost trials may not be favoured by, by the flag of its answer; and an
# arm that reaches the target less often, by the bound of its factor: without a budget it may be
# behind.
_BARRED: Mapping[str, SpeedWord] = {
    LOST_CANDIDATE: "faster",
    LOST_BASELINE: "slower",
    "at most": "faster",
    "at least": "slower",
}


@dataclass(frozen=True)
class Arm:
    """One candidate on one workload: (block, step or None) of every trial that counts.

    In steps: the `median` (None if fewer than half reached the target), the mean restricted
    to the `horizon` with its standard error, and all steps spent for each time it was reached.
    """

    workload: str
    candidate: str
    target: float
    horizon: int
    times: tuple[tuple[int, int | None], ...]
    median: float | None
    restricted_mean: float
    restricted_mean_se: float
    steps_per_success: float | None

    @property
    def reached(self) -> int:
        return sum(step is not None for _, step in self.times)


@dataclass(frozen=True)
class Speedup:
    """The answer of one question, on one workload or (`workload` None) over all with a target.

    `log_ratio` estimates log(restricted steps of the baseline / of the candidate) over units, so
    that its exponential is the factor by which the candidate is faster; `confirmed` is the same if
    two evaluations in a row have to be at the target. `saved` are steps, baseline minus candidate.
    `bound`: one of the two reaches it in more of the `trials` than the other, on every workload on
    which they differ, and would be ahead by more than the factor without a budget. `workloads` are
    those with an estimate; the others, on which neither ever reaches the target, take no part.

    `log_rank_p` ignores the pairs; there is none with looks or searches, for which it does not
    hold. `p_valid` holds over looks, `p_adjusted` is by Holm: over the pooled answers, or over
    those of single workloads; both are None if a flag or the bound bars the word. `reached` is
    the look that the answer is of.
    """

    question: Question
    workload: str | None
    trials: int
    candidate_reached: int
    baseline_reached: int
    log_ratio: Estimate
    confirmed: Estimate
    saved: Estimate | None
    log_rank_p: float | None
    p_adjusted: float | None = None
    word: SpeedWord = "undecided"
    p_valid: float | None = None
    bound: Bound | None = None
    reached: Look | None = None
    workloads: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """The number of units."""
        return self.log_ratio.n

    @property
    def factor(self) -> tuple[float, float | None, float | None] | None:
        """The factor and its interval, at the level of its look."""
        return speedup_factor(self.log_ratio)


@dataclass(frozen=True)
class TimeToTarget:
    """All times to target of a study; `speedups` has the pooled answers before the others.

    `problems` are the trials that were left out, as (workload, candidate, block, why).
    """

    arms: tuple[Arm, ...] = ()
    speedups: tuple[Speedup, ...] = ()
    problems: tuple[tuple[str, str, int, str], ...] = ()

    def answers(self, question: Question) -> tuple[Speedup, ...]:
        """Return the pooled answer, then those of the workloads."""
        return tuple(one for one in self.speedups if one.question == question)


# By workload and candidate, then by block.
_Times = Mapping[tuple[str, str], Mapping[int, StepsToTarget]]


@dataclass(frozen=True)
class _Measured:
    """All times to target, those that two evaluations in a row confirm, and the lost trials.

    A trial whose curve ends early is lost like one that failed: had it gone on, nobody knows when
    it would have reached the target. `problems` are as in TimeToTarget.
    """

    times: _Times
    confirmed: _Times
    lost: Mapping[tuple[str, str], Collection[int]]
    problems: tuple[tuple[str, str, int, str], ...]


def measure_time_to_target(
    blocks: Blocks,
    questions: Sequence[Question],
    alpha: float,
    level: float,
    waiting: Collection[Question] = (),
    looks: Looks | None = None,
) -> TimeToTarget:
    """Measure every candidate on the workloads that declare a target, and answer the questions.

    On one workload paired t of log ratios, averaged over the blocks of a unit; over several the
    stratified t of these estimates. Pooled answers and those of single workloads are a family
    each, by Holm; with looks of p-values that hold over all of them. Questions that are `waiting`
    for trials count in both and have no answer; nor are there times of their candidates. Intervals
    have the `level`, with looks over all of them.
    """
    names = [name for name, one in blocks.workloads.items() if one.metric_spec.target is not None]
    if not names:
        return TimeToTarget()
    # What a look has measured is of its own trials alone: later ones may be longer.
    below = (
        {0: math.inf} if looks is None else {k: looks.blocks(k) for k in range(looks.complete + 1)}
    )
    by_look = {k: _measure_all(blocks, names, most) for k, most in below.items()}
    measured = by_look[max(by_look)]
    held = {name for one in waiting for name in (one.candidate, one.baseline)}
    arms = [_arm(blocks, *at, all_) for at, all_ in measured.times.items() if at[1] not in held]
    rows = [
        [
            [
                _speedup(one, name, by_look[look.look if look else 0], blocks.units, look, level)
                for name in names
            ]
            for look in take_looks(looks, one)
        ]
        for one in questions
    ]
    at_looks = [[_pool(row, level, blocks.seeds) for row in each] for each in rows]
    pooled = _judge(at_looks, alpha, waiting)
    singles = [list(one) for each in rows for one in zip(*each, strict=True)]
    on_each = _judge(singles, alpha, waiting)
    return TimeToTarget(tuple(arms), (*pooled, *on_each), measured.problems)


def speedup_factor(log_ratio: Estimate) -> tuple[float, float | None, float | None] | None:
    """Return the factor behind a mean log ratio, and its 95% interval; None without a mean."""
    if log_ratio.mean is None:
        return None
    low, high = (
        None if end is None else float(np.exp(end)) for end in (log_ratio.low, log_ratio.high)
    )
    return float(np.exp(log_ratio.mean)), low, high


def _measure_all(blocks: Blocks, names: Sequence[str], below: float) -> _Measured:
    """Measure the trials of blocks with lower numbers."""
    spans = curve_spans(one for one in blocks.outcomes if one.trial.block < below)
    times: dict[tuple[str, str], dict[int, StepsToTarget]] = {}
    confirmed: dict[tuple[str, str], dict[int, StepsToTarget]] = {}
    lost: dict[tuple[str, str], set[int]] = {}
    problems = []
    for name, candidate in product(names, blocks.candidates):
        trials = blocks.lost_trials(name, candidate)
        lost[name, candidate] = {block for block in trials if block < below}
        for block, outcome in blocks.ended_trials(name, candidate).items():
            if block >= below:
                continue
            try:
                steps = steps_to_target(outcome, spans)
            except UnmeasuredError as error:
                if isinstance(error, EarlyEndError):
                    lost[name, candidate].add(block)
                problems.append((name, candidate, block, str(error)))
                continue
            times.setdefault((name, candidate), {})[block] = steps
            with contextlib.suppress(UnmeasuredError):
                again = steps_to_target(outcome, spans, 2)
                confirmed.setdefault((name, candidate), {})[block] = again
    return _Measured(times, confirmed, lost, tuple(problems))


def _arm(
    blocks: Blocks, workload: str, candidate: str, trials: Mapping[int, StepsToTarget]
) -> Arm:
    times = [one.restricted for one in trials.values()]
    reached = [one.step is not None for one in trials.values()]
    horizon = max(one.horizon for one in trials.values())
    mean, variance = restricted_mean(times, reached, horizon)
    median = median_time([np.inf if one.step is None else one.step for one in trials.values()])
    target = blocks.workloads[workload].metric_spec.target
    assert target is not None
    return Arm(
        workload=workload,
        candidate=candidate,
        target=target,
        horizon=horizon,
        times=tuple((block, one.step) for block, one in trials.items()),
        median=float(median) if np.isfinite(median) else None,
        restricted_mean=mean,
        restricted_mean_se=variance**0.5,
        steps_per_success=sum(times) / sum(reached) if any(reached) else None,
    )


def _speedup(
    question: Question,
    name: str,
    measured: _Measured,
    units: Units,
    reached: Look | None,
    level: float,
) -> Speedup:
    """Estimate the factor on one workload, from what a look has measured; not judged yet."""
    shared = _shared_blocks(question, name, measured.times)
    arms = [measured.times.get((name, one), {}) for one in _arms(question)]
    counts = [sum(arm[block].step is not None for block in shared) for arm in arms]
    by_unit = [_by_unit(arm, shared, question, units) for arm in arms]
    answer = Speedup(
        question=question,
        workload=name,
        trials=len(shared),
        candidate_reached=counts[0],
        baseline_reached=counts[1],
        log_ratio=Estimate("undefined", len(by_unit[0])),
        confirmed=Estimate("undefined", len(by_unit[0])),
        saved=None,
        log_rank_p=None,
        bound=_bound(*counts),
        reached=reached,
        flags=tuple(_flags(question, name, measured, len(by_unit[0]))),
    )
    if not any(counts):
        return replace(answer, word="not reached" if shared else "undecided")
    again = _shared_blocks(question, name, measured.confirmed)
    twice = [
        _by_unit(measured.confirmed.get((name, one), {}), again, question, units)
        for one in _arms(question)
    ]
    is_plain = reached is None and units.noun(question) == "block"
    runs = [_restricted_runs(arm, shared) for arm in arms]
    return replace(
        answer,
        log_ratio=_at_look(_log_ratio(*by_unit), reached, level),
        confirmed=_at_look(_log_ratio(*twice), reached, level),
        saved=_at_look(
            paired_t(*(list(map(fmean, arm.values())) for arm in reversed(by_unit))),
            reached,
            level,
        ),
        log_rank_p=log_rank_p(*runs) if is_plain else None,
        workloads=(name,),
    )


def _arms(question: Question) -> tuple[str, str]:
    return question.candidate, question.baseline


def _shared_blocks(question: Question, name: str, times: _Times) -> list[int]:
    first, second = (times.get((name, one), {}) for one in _arms(question))
    return [block for block in first if block in second]


def _by_unit(
    arm: Mapping[int, StepsToTarget], blocks: Sequence[int], question: Question, units: Units
) -> dict[int, list[int]]:
    """Return the restricted steps of the blocks of each unit."""
    steps: dict[int, list[int]] = {}
    for block in blocks:
        steps.setdefault(units.number(question, block), []).append(arm[block].restricted)
    return steps


def _restricted_runs(
    arm: Mapping[int, StepsToTarget], blocks: Sequence[int]
) -> tuple[list[int], list[bool]]:
    runs = [arm[block] for block in blocks]
    return [one.restricted for one in runs], [one.step is not None for one in runs]


def _bound(candidate: int, baseline: int) -> Bound | None:
    """Return which bound a factor is, by how often each of the two has reached the target."""
    if candidate == baseline:
        return None
    return "at least" if candidate > baseline else "at most"


def _flags(question: Question, name: str, measured: _Measured, n: int) -> Iterator[str]:
    for arm, flag in zip(_arms(question), (LOST_CANDIDATE, LOST_BASELINE), strict=True):
        if measured.lost.get((name, arm)):
            yield flag
    if n < LEAST_UNITS:
        yield TOO_FEW_UNITS


def _log_ratio(
    candidate: Mapping[int, Sequence[int]], baseline: Mapping[int, Sequence[int]]
) -> Estimate:
    first, second = (
        [float(np.log(steps).mean()) for steps in arm.values()] for arm in (candidate, baseline)
    )
    return paired_t(second, first)


def _at_look(estimate: Estimate, reached: Look | None, level: float) -> Estimate:
    return at_level(estimate, level if reached is None else 1 - reached.limit(1 - level))


def _pool(rows: Sequence[Speedup], level: float, seeds: SeedGroups) -> Speedup:
    """Pool the workloads on which either of the two has reached the target; not judged yet."""
    counted = [one for one in rows if one.word != "not reached"]
    usable = [one for one in counted if one.log_ratio.kind != "undefined"]
    reached, only = rows[0].reached, rows[0] if len(rows) == 1 else None
    counts = sum(one.candidate_reached for one in rows), sum(one.baseline_reached for one in rows)
    bounds = {one.bound for one in counted if one.bound is not None}
    together = replace(
        rows[0],
        workload=None,
        trials=sum(one.trials for one in rows),
        candidate_reached=counts[0],
        baseline_reached=counts[1],
        saved=only.saved if only else None,
        log_rank_p=only.log_rank_p if only else None,
        bound=bounds.pop() if len(bounds) == 1 else None,
        workloads=tuple(one.workload for one in usable if one.workload is not None),
        flags=_pooled_flags(rows, counted, seeds),
    )
    if not counted:
        n = sum(one.n for one in rows)
        return replace(together, log_ratio=Estimate("undefined", n), word="not reached")
    log_ratio = stratified_t([one.log_ratio for one in usable], seeds.label(usable))
    twice = [one for one in usable if one.confirmed.kind != "undefined"]
    confirmed = stratified_t([one.confirmed for one in twice], seeds.label(twice))
    return replace(
        together,
        log_ratio=_at_look(log_ratio, reached, level),
        confirmed=_at_look(confirmed, reached, level),
        word="undecided",
    )


def _pooled_flags(
    rows: Sequence[Speedup], counted: Sequence[Speedup], seeds: SeedGroups
) -> tuple[str, ...]:
    flags = [flag for one in rows for flag in one.flags if flag != TOO_FEW_UNITS]
    numbers = [one.n for one in counted]
    total = count_units(numbers, seeds.label(counted))
    if total < LEAST_UNITS or min(numbers, default=0) < LEAST_UNITS_EACH:
        flags.append(TOO_FEW_UNITS)
    return tuple(dict.fromkeys(flags))


def _judge(
    histories: Sequence[Sequence[Speedup]], alpha: float, waiting: Collection[Question]
) -> list[Speedup]:
    """Give answers, each at all of its looks, their word; they are a family by Holm.

    An answer that a look has decided stays as it was said then, with its factor and interval. One
    that can have no word counts in the family with p = 1, and has no p-value over looks.
    """
    with_p = [[replace(row, p_valid=_valid_p(row)) for row in rows] for rows in histories]
    judged = judge_family(
        with_p,
        lambda one: None if one.question in waiting else one.p_valid,
        lambda one, p: replace(one, p_adjusted=p, word=_direction(one)),
        lambda one, p: replace(one, p_adjusted=p, word=_open_word(one)),
        alpha,
    )
    return [one for one in judged if one.question not in waiting]


def _valid_p(one: Speedup) -> float | None:
    p = one.log_ratio.p
    if p is None or not _may_decide(one):
        return None
    return p if one.reached is None else one.reached.p(p)


def _may_decide(one: Speedup) -> bool:
    barred = {_BARRED[flag] for flag in (*one.flags, one.bound or "") if flag in _BARRED}
    return TOO_FEW_UNITS not in one.flags and _direction(one) not in barred


def _direction(one: Speedup) -> SpeedWord:
    return "faster" if (one.log_ratio.mean or 0.0) > 0 else "slower"


def _open_word(one: Speedup) -> SpeedWord:
    if one.word == "not reached":
        return one.word
    return "undecided" if one.log_ratio.p is not None else "not estimable"
