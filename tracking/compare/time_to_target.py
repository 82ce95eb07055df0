"""Time to target: how many steps each candidate needs, and by what factor one needs fewer.

A secondary endpoint beside the area under the curve, for workloads that declare a target. All
trials of a workload have one budget, and those that never reach the target count with all of it;
so the pairs of a block can be compared, with more power than two survival curves. Decides nothing
about the primary endpoints.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tracking.compare.analysis import Question
from tracking.compare.blocks import Blocks
from tracking.compare.endpoints import UnmeasuredError, curve_metric, curve_points, curve_spans
from tracking.metric import Scale
from tracking.outcomes import Outcome
from tracking.stats.multiplicity import Adjustment, benjamini_hochberg, holm
from tracking.stats.survival import log_rank_p, median_time, restricted_mean
from tracking.stats.t_tests import Estimate, paired_t, stratified_t

SpeedWord = Literal["faster", "slower", "undecided", "not estimable"]


@dataclass(frozen=True)
class StepsToTarget:
    """`step` of the first evaluation at or beyond the target; None if there was none.

    `horizon` is the last step of the budget.
    """

    step: int | None
    horizon: int

    @property
    def restricted(self) -> int:
        """The step at which the target was reached, else the whole budget."""
        return self.horizon if self.step is None else self.step


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

    `log_ratio` estimates log(restricted steps of the baseline / of the candidate), so that its
    exponential is the factor by which the candidate is faster; `confirmed` is the same if two
    evaluations in a row have to be at the target. `saved` are steps, baseline minus candidate.
    `log_rank_p` ignores the pairs. `p_adjusted` is by Holm over the pooled answers, otherwise by
    Benjamini-Hochberg over all single workloads.
    """

    question: Question
    workload: str | None
    candidate_reached: int
    baseline_reached: int
    log_ratio: Estimate
    confirmed: Estimate
    saved: Estimate | None
    log_rank_p: float | None
    p_adjusted: float | None = None
    word: SpeedWord = "undecided"

    @property
    def n(self) -> int:
        return self.log_ratio.n

    @property
    def factor(self) -> tuple[float, float | None, float | None] | None:
        """The factor and its 95% interval."""
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


def measure_time_to_target(
    blocks: Blocks,
    questions: Sequence[Question],
    alpha: float,
    waiting: Collection[Question] = (),
) -> TimeToTarget:
    """Measure every candidate on the workloads that declare a target, and answer the questions.

    On one workload paired t of log ratios, over several the stratified t of these estimates. The
    pooled answers are adjusted by Holm, those of single workloads, exploratory, by
    Benjamini-Hochberg. Questions that are `waiting` for trials count in both and have no answer;
    nor are there times of their candidates.
    """
    names = [name for name, one in blocks.workloads.items() if one.metric_spec.target is not None]
    if not names:
        return TimeToTarget()
    times, problems = _measure_all(blocks, names, 1)
    confirmed, _ = _measure_all(blocks, names, 2)
    held = {name for one in waiting for name in (one.candidate, one.baseline)}
    arms = [_arm(blocks, *at, trials) for at, trials in times.items() if at[1] not in held]
    rows = [[_speedup(one, name, times, confirmed) for name in names] for one in questions]
    pooled = _judge([_pool(each) for each in rows], holm, alpha, waiting)
    singles = _judge([one for each in rows for one in each], benjamini_hochberg, alpha, waiting)
    return TimeToTarget(tuple(arms), (*pooled, *singles), tuple(problems))


def steps_to_target(
    outcome: Outcome, spans: Mapping[str, tuple[int, int]], in_a_row: int = 1
) -> StepsToTarget:
    """Return when a completed or diverged trial reached its target, by its own evaluations.

    A trial that diverged never reached it, even if its curve did: its weights are lost.
    With `in_a_row` above 1, that many evaluations one after another have to be at the target, the
    first of which counts. `spans` are of `curve_spans`. Raises UnmeasuredError if the budget is
    not known, a curve ends before it, or the untrained model is at the target already.
    """
    workload = outcome.trial.workload
    metric, target = curve_metric(workload), workload.metric_spec.target
    assert target is not None
    planned = workload.steps or int(outcome.started.get("steps", 0))
    end = planned or spans.get(workload.name, (0, 0))[1]
    if not end:
        raise UnmeasuredError("no trial says how many steps there are to reach the target in")
    if outcome.state == "diverged":
        return StepsToTarget(None, end)
    curve, sign = curve_points(outcome), Scale.of(workload.metric_spec).sign
    there = [sign * point.metrics[metric] >= sign * target for point in curve]
    for first in range(len(curve) - in_a_row + 1):
        if all(there[first : first + in_a_row]):
            step = curve[first].step
            if step == 0:
                raise UnmeasuredError("the untrained model is at the target already")
            return StepsToTarget(step, max(end, step))
    if not curve or curve[-1].step < end:
        raise UnmeasuredError(f"has {metric} up to step {curve[-1].step if curve else 0} of {end}")
    return StepsToTarget(None, end)


def speedup_factor(log_ratio: Estimate) -> tuple[float, float | None, float | None] | None:
    """Return the factor behind a mean log ratio, and its 95% interval; None without a mean."""
    if log_ratio.mean is None:
        return None
    low, high = (
        None if end is None else float(np.exp(end)) for end in (log_ratio.low, log_ratio.high)
    )
    return float(np.exp(log_ratio.mean)), low, high


def _measure_all(
    blocks: Blocks, names: Sequence[str], in_a_row: int
) -> tuple[_Times, list[tuple[str, str, int, str]]]:
    spans = curve_spans(blocks.outcomes)
    times: dict[tuple[str, str], dict[int, StepsToTarget]] = {}
    problems = []
    for name in names:
        for candidate in blocks.candidates:
            for block, outcome in blocks.ended_trials(name, candidate).items():
                try:
                    steps = steps_to_target(outcome, spans, in_a_row)
                except UnmeasuredError as error:
                    problems.append((name, candidate, block, str(error)))
                else:
                    times.setdefault((name, candidate), {})[block] = steps
    return times, problems


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


def _speedup(question: Question, name: str, times: _Times, confirmed: _Times) -> Speedup:
    first, second = _pair(question, name, times)
    restricted = [[float(one.restricted) for one in arm] for arm in (first, second)]
    reached = [[one.step is not None for one in arm] for arm in (first, second)]
    return Speedup(
        question=question,
        workload=name,
        candidate_reached=sum(reached[0]),
        baseline_reached=sum(reached[1]),
        log_ratio=_log_ratio(first, second),
        confirmed=_log_ratio(*_pair(question, name, confirmed)),
        saved=paired_t(restricted[1], restricted[0]),
        log_rank_p=log_rank_p((restricted[0], reached[0]), (restricted[1], reached[1])),
    )


def _pair(
    question: Question, name: str, times: _Times
) -> tuple[list[StepsToTarget], list[StepsToTarget]]:
    first = times.get((name, question.candidate), {})
    second = times.get((name, question.baseline), {})
    shared = [block for block in first if block in second]
    return [first[block] for block in shared], [second[block] for block in shared]


def _log_ratio(candidate: Sequence[StepsToTarget], baseline: Sequence[StepsToTarget]) -> Estimate:
    first, second = (np.log([one.restricted for one in arm]) for arm in (candidate, baseline))
    return paired_t(second, first)


def _pool(rows: Sequence[Speedup]) -> Speedup:
    log_ratios = [one.log_ratio for one in rows if one.log_ratio.kind != "undefined"]
    confirmed = [one.confirmed for one in rows if one.confirmed.kind != "undefined"]
    only = rows[0] if len(rows) == 1 else None
    return replace(
        rows[0],
        workload=None,
        candidate_reached=sum(one.candidate_reached for one in rows),
        baseline_reached=sum(one.baseline_reached for one in rows),
        log_ratio=stratified_t(log_ratios),
        confirmed=stratified_t(confirmed),
        saved=only.saved if only else None,
        log_rank_p=only.log_rank_p if only else None,
    )


def _judge(
    rows: Sequence[Speedup], adjust: Adjustment, alpha: float, waiting: Collection[Question]
) -> list[Speedup]:
    adjusted = adjust([None if one.question in waiting else one.log_ratio.p for one in rows])
    return [
        replace(one, p_adjusted=p, word=_word(one.log_ratio, p, alpha))
        for one, p in zip(rows, adjusted, strict=True)
        if one.question not in waiting
    ]


def _word(log_ratio: Estimate, p: float | None, alpha: float) -> SpeedWord:
    if p is None or log_ratio.mean is None:
        return "not estimable"
    if p > alpha:
        return "undecided"
    return "faster" if log_ratio.mean > 0 else "slower"
