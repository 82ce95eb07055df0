"""Endpoints: the two numbers of a trial that comparisons are made of, in the scale of its metric.

A trial that diverged is a result, not a gap: its final score is chance, and its curve stays at
chance from the divergence to the planned end (intention to treat). Compares nothing.

The area under a learning curve. Knows steps and values, no trial.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jobs.contract.trial import Workload
from thermolion.errors import OperationError
from tracking.compare.analysis import Endpoint
from tracking.logs import Point
from tracking.metric import Scale
from tracking.outcomes import Outcome, position


def normalised_auc(steps: Sequence[int], values: Sequence[float]) -> float:
    """Return the mean height of a curve over its steps, by the trapezoid rule, in its own unit.

    `steps` (n,) start with 0, the untrained point, and never fall: a step that comes twice is a
    jump. Raises ValueError for anything else, for values that are not finite, and for a curve
    without length.
    """
    x, y = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(f"a curve of two points at least is needed: {x.shape} and {y.shape}")
    if x[0] != 0 or x[-1] == 0 or (np.diff(x) < 0).any():
        raise ValueError(f"steps must rise from the untrained point, 0: {list(steps)}")
    if not np.isfinite(y).all():
        raise ValueError(f"values must be finite: {list(values)}")
    return float(np.trapezoid(y, x) / x[-1])


class ComparisonError(OperationError):
    """Results that must not be compared, with what is wrong and where."""


class UnmeasuredError(OperationError):
    """A trial that ended without what an endpoint needs; the message names it."""


@dataclass(frozen=True)
class EndpointValues:
    """Both endpoints of one trial that has a result: in percent, or plain as logged.

    The curve of the user's own training covers `span`, its first and last step, where it has an
    AUC; otherwise `no_auc` says why it has none. With images the span is that of the plan.
    """

    final: float
    auc: float | None
    span: tuple[int, int] | None = None
    no_auc: str | None = None

    def of(self, endpoint: Endpoint) -> float | None:
        return self.final if endpoint is Endpoint.FINAL else self.auc


def curve_metric(workload: Workload) -> str:
    """Return the metric whose curve measures speed: of held-out data, where there is any."""
    return workload.metric_spec.metric


def final_metric(workload: Workload) -> str:
    """Return the metric whose last value counts."""
    return workload.metric_spec.final_metric or workload.metric_spec.metric


def usual_spans(outcomes: Iterable[Outcome]) -> dict[str, tuple[int, int]]:
    """Return the first and last step of completed trials of the user's own, by workload.

    That is what the curve of a diverged one would have covered.
    """
    spans: dict[str, tuple[int, int]] = {}
    for one in outcomes:
        workload = one.trial.workload
        curve = _curve(one) if not workload.has_planned_curve and one.state == "completed" else []
        if curve:
            first, last = spans.get(workload.name, (curve[0].step, curve[-1].step))
            spans[workload.name] = min(first, curve[0].step), max(last, curve[-1].step)
    return spans


def score(outcome: Outcome, spans: Mapping[str, tuple[int, int]] | None = None) -> EndpointValues:
    """Return the endpoints of a completed or diverged trial; `spans` are of `usual_spans`.

    Raises UnmeasuredError where its log lacks what they need, ComparisonError for NaN in a
    completed trial and for a value that its unit does not allow.
    """
    workload = outcome.trial.workload
    factor = Scale.of(workload.metric_spec).factor
    if workload.has_planned_curve:
        return EndpointValues(factor * _final(outcome), factor * _auc(outcome))
    final = factor * _own_final(outcome)
    try:
        steps, values = _own_curve(outcome, (spans or {}).get(workload.name))
    except UnmeasuredError as error:
        return EndpointValues(final, None, no_auc=str(error))
    auc = normalised_auc([step - steps[0] for step in steps], values)
    return EndpointValues(final, factor * auc, span=(steps[0], steps[-1]))


def last_of_curve(outcome: Outcome) -> float:
    """Return the last value of the curve that measures speed, as logged; chance if diverged.

    Of a trial that ended at a rung it is the value there. Raises as `score` does.
    """
    metric, curve = curve_metric(outcome.trial.workload), _curve(outcome)
    if outcome.state == "diverged":
        return _chance(outcome, metric)
    if not curve:
        raise UnmeasuredError(f"has no {metric}")
    last = curve[-1]
    if outcome.rung is not None:
        workload = outcome.trial.workload
        reached = (point for point in curve if position(workload, point) >= outcome.rung)
        last = next(reached, last)
    return _checked(outcome, metric, last.metrics[metric])


def _final(outcome: Outcome) -> float:
    metric = final_metric(outcome.trial.workload)
    if outcome.state == "diverged":
        return _chance(outcome, metric)
    if metric not in outcome.metrics:
        raise UnmeasuredError(f"ended without {metric}")
    return _checked(outcome, metric, outcome.metrics[metric])


def _own_final(outcome: Outcome) -> float:
    """Return the declared final metric, or else the last value of the curve's metric."""
    reading, curve = outcome.trial.workload.metric_spec, _curve(outcome)
    absent = reading.metric not in outcome.metrics
    is_whole = outcome.state == "completed" and outcome.rung is None
    if is_whole and reading.final_metric is None and absent and curve:
        return _checked(outcome, reading.metric, curve[-1].metrics[reading.metric])
    return _final(outcome)


def _auc(outcome: Outcome) -> float:
    metric = curve_metric(outcome.trial.workload)
    end = int(outcome.started["steps"]) if "steps" in outcome.started else 0
    curve = _curve(outcome)
    diverged = outcome.state == "diverged"
    if not curve or curve[0].step != 0:
        raise UnmeasuredError(f"has no {metric} of the untrained point")
    if end == 0 or (curve[-1].step != end and not diverged):
        raise UnmeasuredError(f"has {metric} up to step {curve[-1].step} of {end or 'unknown'}")
    return normalised_auc(*_followed(outcome, curve, end))


def _own_curve(outcome: Outcome, span: tuple[int, int] | None) -> tuple[list[int], list[float]]:
    """Return steps and values of a curve that may begin and end anywhere.

    A diverged one goes on at chance to the end of `span`, or of the declared budget.
    """
    workload, curve = outcome.trial.workload, _curve(outcome)
    metric = curve_metric(workload)
    end = curve[-1].step if curve else 0
    if outcome.state == "diverged":
        if span is None and workload.steps is None:
            raise UnmeasuredError(f"diverged, and no trial says where {metric} would have ended")
        if span is not None and not curve:
            return list(span), [_chance(outcome, metric)] * 2
        end = workload.steps or 0 if span is None else span[1]
    steps, values = _followed(outcome, curve, end)
    if not steps or steps[-1] == steps[0]:
        raise UnmeasuredError(f"has fewer than two points of {metric}")
    return steps, values


def _followed(outcome: Outcome, curve: list[Point], end: int) -> tuple[list[int], list[float]]:
    """Return steps and values, at chance from a divergence to `end`."""
    metric = curve_metric(outcome.trial.workload)
    workload = outcome.trial.workload
    diverged = outcome.state == "diverged"
    complaint = Scale.of(workload.metric_spec).complaint
    steps: list[int] = []
    values: list[float] = []
    for point in curve:
        # Of images every metric is ours: one that is not finite is the divergence.
        ours = workload.has_planned_curve
        measured = point.metrics.values() if ours else [point.metrics[metric]]
        if diverged and not all(map(math.isfinite, measured)):
            steps.append(point.step)
            values.append(_chance(outcome, metric))
            break
        steps.append(point.step)
        value = point.metrics[metric]
        values.append(_checked(outcome, metric, value) if complaint(value) else value)
    if steps and steps[-1] < end:  # the curve breaks off: at chance from its last point on
        steps += [steps[-1], end]
        values += [_chance(outcome, metric)] * 2
    return steps, values


def _curve(outcome: Outcome) -> list[Point]:
    metric = curve_metric(outcome.trial.workload)
    return [point for point in outcome.curve if metric in point.metrics]


def _chance(outcome: Outcome, metric: str) -> float:
    workload, chance = outcome.trial.workload, outcome.started.get("chance", {})
    if workload.metric_spec.chance is not None:
        return workload.metric_spec.chance  # as declared now, which may be later than it ran
    if metric in chance:
        return float(chance[metric])
    if workload.has_planned_curve:
        raise UnmeasuredError(f"diverged, and the chance level of {metric} is not in its log")
    raise UnmeasuredError("diverged, and its workload declares no `chance` to count it as")


def _checked(outcome: Outcome, metric: str, value: float) -> float:
    workload = outcome.trial.workload
    wrong = Scale.of(workload.metric_spec).complaint(value)
    if wrong:
        trial = outcome.trial
        advice = (
            "a trial that lost it has diverged; see what logged it"
            if workload.has_planned_curve
            else "see what logged it, or declare another `unit`"
        )
        raise ComparisonError(
            f"{metric} of {trial.candidate.name} on {workload.name}, block {trial.block} "
            f"(trial {trial.id}) is {value}: {wrong}; {advice}"
        )
    return value
