"""Endpoints: the numbers of a trial that comparisons are made of, in the scale of its metric.

The final score and the speed, those of any metric that it has logged, and the time to a target.

A trial that diverged is a result, and not missing: its final score is chance, and its curve stays
at chance from the divergence to the planned end (intention to treat). Compares nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.contract.workloads.workload import MetricSpec, Workload
from thermolion.errors import OperationError
from tracking.logs import Point
from tracking.metric import Scale
from tracking.outcomes import Outcome, curve_position
from tracking.questions.endpoint import FINAL, Endpoint

# The metrics of images that are measured from the untrained model to the last step.
_HELD_OUT, _ON_TRAINING_DATA = ("val_accuracy", "val_loss"), ("train_accuracy", "train_set_loss")


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
        """Return the value of a standard endpoint; None if it has no AUC."""
        return self.final if endpoint.measure == FINAL.measure else self.auc


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


def curve_points(outcome: Outcome, metric: str | None = None) -> list[Point]:
    """Return the evaluations that have a metric: that whose curve measures speed, or another."""
    name = metric or curve_metric(outcome.trial.workload)
    return [point for point in outcome.curve if name in point.metrics]


def final_metric(workload: Workload) -> str:
    """Return the metric whose last value counts."""
    return workload.metric_spec.final_metric or workload.metric_spec.metric


def curve_spans(
    outcomes: Iterable[Outcome], metric: str | None = None
) -> dict[str, tuple[int, int]]:
    """Return the first and last step of a metric in completed trials, by workload.

    That is what the curve of a diverged one would have covered.
    """
    spans: dict[str, tuple[int, int]] = {}
    for one in outcomes:
        name, curve = one.trial.workload.name, curve_points(one, metric)
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
    spec = workload.metric_spec
    factor = Scale.of(spec).factor
    final = factor * final_value(outcome, spec)
    try:
        steps, values = whole_curve(outcome, spec, (spans or {}).get(workload.name))
    except UnmeasuredError as error:
        if is_planned(workload, spec.metric):
            raise
        return EndpointValues(final, None, no_auc=str(error))
    return EndpointValues(final, factor * normalised_auc(steps, values), (steps[0], steps[-1]))


def reads_accuracy(workload: Workload) -> bool:
    """Return True for images that are read by their accuracies, as always unless asked else."""
    spec = workload.metric_spec
    usual = (_HELD_OUT[0], "test_accuracy"), (_ON_TRAINING_DATA[0], "test_accuracy")
    return workload.has_planned_curve and (spec.metric, spec.final_metric) in usual


def is_planned(workload: Workload, metric: str) -> bool:
    """Return True if a metric is measured from the untrained model to the last step."""
    return workload.has_planned_curve and metric in _HELD_OUT + _ON_TRAINING_DATA


def last_curve_value(outcome: Outcome) -> float:
    """Return the last value of the curve that measures speed, as logged; chance if diverged.

    Of a trial that ended at a rung it is the value there. Raises as `score_trial` does.
    """
    metric, curve = curve_metric(outcome.trial.workload), curve_points(outcome)
    spec = outcome.trial.workload.metric_spec
    if outcome.state == "diverged":
        return chance_value(outcome, spec, metric)
    if not curve:
        raise UnmeasuredError(f"has no {metric}")
    last = curve[-1]
    if outcome.rung is not None:
        workload = outcome.trial.workload
        reached = (point for point in curve if curve_position(workload, point) >= outcome.rung)
        last = next(reached, last)
    return _check(outcome, spec, metric, last.metrics[metric])


def steps_to_target(
    outcome: Outcome,
    spans: Mapping[str, tuple[int, int]],
    in_a_row: int = 1,
    spec: MetricSpec | None = None,
) -> StepsToTarget:
    """Return when a completed or diverged trial reached its target, by its own evaluations.

    A trial that diverged never reached it, even if its curve did: its weights are lost.
    With `in_a_row` above 1, that many evaluations one after another have to be at the target, the
    first of which counts. `spans` are of `curve_spans`: the budget ends with the last evaluation
    of any completed trial, since no trial is seen after that. Raises UnmeasuredError if the budget
    is not known or the untrained model is at the target already, EarlyEndError if a curve ends
    before the budget. `spec` says how the curve is read, and its target; the workload's if None.
    """
    workload = outcome.trial.workload
    spec = spec or workload.metric_spec
    end = last_step(outcome, spans.get(workload.name, (0, 0))[1])
    if not end:
        raise UnmeasuredError("no trial says how many steps there are to reach the target in")
    if outcome.state == "diverged":
        return StepsToTarget(None, end)
    curve = curve_points(outcome, spec.metric)
    first = first_at_target(curve, spec, in_a_row)
    if first is not None:
        return StepsToTarget(first.step, max(end, first.step))
    _require_whole(curve, spec, end)
    return StepsToTarget(None, end)


def last_step(outcome: Outcome, last_seen: float) -> int:
    """Return the last step of the budget, as planned or as trials were seen; 0 if unknown."""
    planned = outcome.trial.workload.steps or int(outcome.started.get("steps", 0))
    return min((int(end) for end in (planned, last_seen) if end), default=0)


def first_at_target(curve: Sequence[Point], spec: MetricSpec, in_a_row: int = 1) -> Point | None:
    """Return the first evaluation at the target, of so many in a row; None if there is none."""
    if spec.target is None:  # pilots have found none
        raise UnmeasuredError("there is no target to be timed to")
    sign = Scale.of(spec).sign
    values = [point.metrics[spec.metric] for point in curve]
    there = [math.isfinite(value) and sign * value >= sign * spec.target for value in values]
    for first in range(len(curve) - in_a_row + 1):
        if all(there[first : first + in_a_row]):
            if curve[first].step == 0:
                raise UnmeasuredError("the untrained model is at the target already")
            return curve[first]
    return None


def _require_whole(curve: Sequence[Point], spec: MetricSpec, end: int) -> None:
    """Raise EarlyEndError for a curve that ends before the budget."""
    last = curve[-1].step if curve else 0
    if last < end:
        raise EarlyEndError(f"has {spec.metric} up to step {last} of {end}")


def normalised_auc(steps: Sequence[float], values: Sequence[float]) -> float:
    """Return the mean height of a curve over its steps, by the trapezoid rule, in its own unit.

    `steps` (n,) never fall, and end after the first one: a step that comes twice is a jump. They
    may be seconds.
    """
    corners = zip(steps, steps[1:], values, values[1:], strict=False)
    area = sum((end - begin) * (low + high) / 2 for begin, end, low, high in corners)
    return area / (steps[-1] - steps[0])


def final_value(outcome: Outcome, spec: MetricSpec) -> float:
    """Return the final metric; if none is declared or logged, the last value of the curve."""
    metric, curve = spec.final_metric or spec.metric, curve_points(outcome, spec.metric)
    if outcome.state == "diverged":
        return chance_value(outcome, spec, metric)
    if metric in outcome.metrics:
        return _check(outcome, spec, metric, outcome.metrics[metric])
    is_whole = outcome.state == "completed" and outcome.rung is None
    if metric == spec.metric and is_whole and curve:
        return _check(outcome, spec, metric, curve[-1].metrics[metric])
    raise UnmeasuredError(f"ended without {metric}")


def whole_curve(
    outcome: Outcome, spec: MetricSpec, span: tuple[int, int] | None
) -> tuple[list[int], list[float]]:
    """Return steps and values of a curve; that of a diverged trial goes on at chance to its end.

    The curve of images covers the plan. That of the user's own training, or of another metric, may
    begin and end at any step; if it diverged, its end is that of `span` or of the declared budget.
    """
    workload, metric = outcome.trial.workload, spec.metric
    curve, diverged = curve_points(outcome, metric), outcome.state == "diverged"
    end = curve[-1].step if curve else 0
    if is_planned(workload, metric):
        last, end = end, int(outcome.started.get("steps", 0))
        if not curve or curve[0].step != 0:
            raise UnmeasuredError(f"has no {metric} of the untrained point")
        if end == 0 or (last != end and not diverged):
            raise UnmeasuredError(f"has {metric} up to step {last} of {end or 'unknown'}")
    elif diverged and span is not None:
        if not curve and span[0] < span[1]:
            return list(span), [chance_value(outcome, spec, metric)] * 2
        end = span[1]
    elif diverged:
        if workload.steps is None:
            raise UnmeasuredError(f"diverged, and no trial says where {metric} would have ended")
        end = workload.steps
    steps, values = measured_curve(outcome, spec, curve)
    if steps and steps[-1] < end:  # a curve that ends early is at chance from there on
        steps += [steps[-1], end]
        values += [chance_value(outcome, spec, metric)] * 2
    if not steps or steps[-1] == steps[0]:
        raise UnmeasuredError(f"has fewer than two points of {metric}")
    return steps, values


def measured_curve(
    outcome: Outcome, spec: MetricSpec, curve: Sequence[Point]
) -> tuple[list[int], list[float]]:
    """Return the steps and values that were measured, up to a divergence, which is at chance."""
    metric, complaint = spec.metric, Scale.of(spec).complaint
    steps: list[int] = []
    values: list[float] = []
    for point in curve:
        steps.append(point.step)
        value = point.metrics[metric]
        # Of images every metric is ours: one that is not finite is the divergence.
        is_ours = outcome.trial.workload.has_planned_curve
        decisive = point.metrics.values() if is_ours else [value]
        if outcome.state == "diverged" and not all(map(math.isfinite, decisive)):
            values.append(chance_value(outcome, spec, metric))
            break
        if not is_ours and not math.isfinite(value):  # and it went on to a finite end
            raise UnmeasuredError(f"{metric} is {value} at step {point.step}")
        values.append(_check(outcome, spec, metric, value) if complaint(value) else value)
    return steps, values


def chance_value(outcome: Outcome, spec: MetricSpec, metric: str) -> float:
    logged = outcome.started.get("chance", {})
    if spec.chance is not None:
        return spec.chance  # it may have been declared after the trial ran
    if metric in logged:
        return float(logged[metric])
    raise UnmeasuredError(
        f"diverged, and its workload declares no `chance` to count it as, nor is that of {metric} "
        "in its log"
    )


def _check(outcome: Outcome, spec: MetricSpec, metric: str, value: float) -> float:
    trial = outcome.trial
    wrong = Scale.of(spec).complaint(value)
    if wrong:
        raise ComparisonError(
            f"{metric} of {trial.candidate.name} on {trial.workload.name}, block {trial.block} "
            f"(trial {trial.id}) is {value}: {wrong}; see what logged it (a trial that lost it "
            "has diverged; a metric of your own may need another `unit`)"
        )
    return value
