"""Endpoints: the numbers of a trial that comparisons are made of, in the scale of its metric.

The final score and the speed, and beside them the steps to a target.

A trial that diverged is a result, and not missing: its final score is chance, and its curve stays
at chance from the divergence to the planned end (intention to treat). Compares nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.contract.workloads.workload import Workload
from thermolion.errors import OperationError
from tracking.logs import Point
from tracking.metric import Scale
from tracking.outcomes import Outcome, curve_position
from tracking.questions.analysis import Endpoint


class ComparisonError(OperationError):
    """Results that must not be compared; the message names the fault and the trial or question."""


class UnmeasuredError(OperationError):
    """A trial that ended without what an endpoint needs; the message names it."""


class EarlyEndError(UnmeasuredError):
    """A completed trial whose curve ends before those of others, and before its target."""


@dataclass(frozen=True)
class EndpointValues:
    """Both endpoints of one trial that has a result: in percent, or plain as logged.

    The curve covers `span`, its first and last step. The user's own training may have no AUC;
    `no_auc` then says why.
    """

    final: float
    auc: float | None
    span: tuple[int, int] | None = None
    no_auc: str | None = None

    def of(self, endpoint: Endpoint) -> float | None:
        """Return the value of an endpoint; None if it has no AUC."""
        return self.final if endpoint is Endpoint.FINAL else self.auc


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


def curve_metric(workload: Workload) -> str:
    """Return the metric whose curve measures speed: of held-out data, if there is any."""
    return workload.metric_spec.metric


def curve_points(outcome: Outcome) -> list[Point]:
    """Return the evaluations that have the metric whose curve measures speed."""
    metric = curve_metric(outcome.trial.workload)
    return [point for point in outcome.curve if metric in point.metrics]


def final_metric(workload: Workload) -> str:
    """Return the metric whose last value counts."""
    return workload.metric_spec.final_metric or workload.metric_spec.metric


def curve_spans(outcomes: Iterable[Outcome]) -> dict[str, tuple[int, int]]:
    """Return the first and last step of completed trials, by workload.

    That is what the curve of a diverged one would have covered.
    """
    spans: dict[str, tuple[int, int]] = {}
    for one in outcomes:
        name, curve = one.trial.workload.name, curve_points(one)
        if curve and one.state == "completed":
            first, last = spans.get(name, (curve[0].step, curve[-1].step))
            spans[name] = min(first, curve[0].step), max(last, curve[-1].step)
    return spans


def score_trial(
    outcome: Outcome, spans: Mapping[str, tuple[int, int]] | None = None
) -> EndpointValues:
    """Return the endpoints of a completed or diverged trial; `spans` are of `curve_spans`.

    Raises UnmeasuredError if its log lacks what they need, ComparisonError for NaN in a
    completed trial and for a value that its unit does not allow.
    """
    workload = outcome.trial.workload
    factor = Scale.of(workload.metric_spec).factor
    final = factor * _final(outcome)
    try:
        steps, values = _whole_curve(outcome, (spans or {}).get(workload.name))
    except UnmeasuredError as error:
        if workload.has_planned_curve:
            raise
        return EndpointValues(final, None, no_auc=str(error))
    return EndpointValues(final, factor * normalised_auc(steps, values), (steps[0], steps[-1]))


def last_curve_value(outcome: Outcome) -> float:
    """Return the last value of the curve that measures speed, as logged; chance if diverged.

    Of a trial that ended at a rung it is the value there. Raises as `score_trial` does.
    """
    metric, curve = curve_metric(outcome.trial.workload), curve_points(outcome)
    if outcome.state == "diverged":
        return _chance(outcome, metric)
    if not curve:
        raise UnmeasuredError(f"has no {metric}")
    last = curve[-1]
    if outcome.rung is not None:
        workload = outcome.trial.workload
        reached = (point for point in curve if curve_position(workload, point) >= outcome.rung)
        last = next(reached, last)
    return _check(outcome, metric, last.metrics[metric])


def steps_to_target(
    outcome: Outcome, spans: Mapping[str, tuple[int, int]], in_a_row: int = 1
) -> StepsToTarget:
    """Return when a completed or diverged trial reached its target, by its own evaluations.

    A trial that diverged never reached it, even if its curve did: its weights are lost.
    With `in_a_row` above 1, that many evaluations one after another have to be at the target, the
    first of which counts. `spans` are of `curve_spans`: the budget ends with the last evaluation
    of any completed trial, since no trial is seen after that. Raises UnmeasuredError if the budget
    is not known or the untrained model is at the target already, EarlyEndError if a curve ends
    before the budget.
    """
    workload = outcome.trial.workload
    metric, target = curve_metric(workload), workload.metric_spec.target
    assert target is not None
    planned = workload.steps or int(outcome.started.get("steps", 0))
    ends = [end for end in (planned, spans.get(workload.name, (0, 0))[1]) if end]
    if not ends:
        raise UnmeasuredError("no trial says how many steps there are to reach the target in")
    end = min(ends)
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
        raise EarlyEndError(f"has {metric} up to step {curve[-1].step if curve else 0} of {end}")
    return StepsToTarget(None, end)


def normalised_auc(steps: Sequence[int], values: Sequence[float]) -> float:
    """Return the mean height of a curve over its steps, by the trapezoid rule, in its own unit.

    `steps` (n,) never fall, and end after the first one: a step that comes twice is a jump.
    """
    corners = zip(steps, steps[1:], values, values[1:], strict=False)
    area = sum((end - begin) * (low + high) / 2 for begin, end, low, high in corners)
    return area / (steps[-1] - steps[0])


def _final(outcome: Outcome) -> float:
    """Return the final metric; if none is declared or logged, the last value of the curve."""
    workload = outcome.trial.workload
    metric, curve = final_metric(workload), curve_points(outcome)
    if outcome.state == "diverged":
        return _chance(outcome, metric)
    if metric in outcome.metrics:
        return _check(outcome, metric, outcome.metrics[metric])
    is_whole = outcome.state == "completed" and outcome.rung is None
    if workload.metric_spec.final_metric is None and is_whole and curve:
        return _check(outcome, metric, curve[-1].metrics[metric])
    raise UnmeasuredError(f"ended without {metric}")


def _whole_curve(outcome: Outcome, span: tuple[int, int] | None) -> tuple[list[int], list[float]]:
    """Return steps and values of a curve; that of a diverged trial goes on at chance to its end.

    The curve of images covers the plan. That of the user's own training may begin and end at any
    step; if it diverged, its end is that of `span` or of the declared budget.
    """
    workload, curve = outcome.trial.workload, curve_points(outcome)
    metric, diverged = curve_metric(workload), outcome.state == "diverged"
    end = curve[-1].step if curve else 0
    if workload.has_planned_curve:
        last, end = end, int(outcome.started.get("steps", 0))
        if not curve or curve[0].step != 0:
            raise UnmeasuredError(f"has no {metric} of the untrained point")
        if end == 0 or (last != end and not diverged):
            raise UnmeasuredError(f"has {metric} up to step {last} of {end or 'unknown'}")
    elif diverged and span is not None:
        if not curve and span[0] < span[1]:
            return list(span), [_chance(outcome, metric)] * 2
        end = span[1]
    elif diverged:
        if workload.steps is None:
            raise UnmeasuredError(f"diverged, and no trial says where {metric} would have ended")
        end = workload.steps
    steps, values = _measured_curve(outcome, curve)
    if steps and steps[-1] < end:  # a curve that ends early is at chance from there on
        steps += [steps[-1], end]
        values += [_chance(outcome, metric)] * 2
    if not steps or steps[-1] == steps[0]:
        raise UnmeasuredError(f"has fewer than two points of {metric}")
    return steps, values


def _measured_curve(outcome: Outcome, curve: list[Point]) -> tuple[list[int], list[float]]:
    """Return the steps and values that were measured, up to a divergence, which is at chance."""
    workload = outcome.trial.workload
    metric, complaint = curve_metric(workload), Scale.of(workload.metric_spec).complaint
    steps: list[int] = []
    values: list[float] = []
    for point in curve:
        steps.append(point.step)
        value = point.metrics[metric]
        # Of images every metric is ours: one that is not finite is the divergence.
        decisive = point.metrics.values() if workload.has_planned_curve else [value]
        if outcome.state == "diverged" and not all(map(math.isfinite, decisive)):
            values.append(_chance(outcome, metric))
            break
        values.append(_check(outcome, metric, value) if complaint(value) else value)
    return steps, values


def _chance(outcome: Outcome, metric: str) -> float:
    workload, logged = outcome.trial.workload, outcome.started.get("chance", {})
    if workload.metric_spec.chance is not None:
        return workload.metric_spec.chance  # it may have been declared after the trial ran
    if metric in logged:
        return float(logged[metric])
    raise UnmeasuredError(
        f"diverged, and its workload declares no `chance` to count it as, nor is that of {metric} "
        "in its log"
    )


def _check(outcome: Outcome, metric: str, value: float) -> float:
    trial = outcome.trial
    wrong = Scale.of(trial.workload.metric_spec).complaint(value)
    if wrong:
        raise ComparisonError(
            f"{metric} of {trial.candidate.name} on {trial.workload.name}, block {trial.block} "
            f"(trial {trial.id}) is {value}: {wrong}; see what logged it (a trial that lost it "
            "has diverged; a metric of your own may need another `unit`)"
        )
    return value
