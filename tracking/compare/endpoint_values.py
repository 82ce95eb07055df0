"""The value of any endpoint of a trial: of a metric that it has logged, over steps or seconds.

The two that every study has are `score_trial`'s. Compares nothing.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jobs.contract.workloads.workload import MetricSpec
from tracking.compare.endpoints import (
    ComparisonError,
    EarlyEndError,
    UnmeasuredError,
    chance_value,
    curve_points,
    curve_spans,
    final_value,
    first_at_target,
    last_step,
    measured_curve,
    normalised_auc,
    steps_to_target,
    whole_curve,
)
from tracking.logs import Point
from tracking.metric import Scale
from tracking.outcomes import Outcome
from tracking.questions.endpoint import Endpoint


@dataclass(frozen=True)
class EndpointValue:
    """One endpoint of one trial: in percent, in the unit of its metric, or a time as -log(time).

    The curve covers `span`, in steps or seconds. `reached` is False of a time that is the whole
    budget, because the target was not reached within it.
    """

    value: float
    span: tuple[float, float] | None = None
    reached: bool = True


@dataclass(frozen=True)
class NoValue:
    """Why a trial with a result has no value of an endpoint; `is_lost`: by its own doing."""

    why: str
    is_lost: bool


@dataclass(frozen=True)
class TrialValues:
    """The values of a candidate on a workload by one endpoint, greater is better, by trial.

    Each comes with whether its trial diverged; `without` counts those that have a result, but not
    by this endpoint. `is_lost`: one has none for a reason that training can cause.
    """

    values: tuple[tuple[EndpointValue, bool], ...]
    without: int
    is_lost: bool


def measure_endpoint(
    outcome: Outcome, endpoint: Endpoint, spans: Mapping[str, tuple[float, float]]
) -> EndpointValue | NoValue:
    """Return an endpoint of a trial that has a result; `spans` are of `endpoint_spans`.

    A value that its unit does not allow, such as NaN, is none, by the trial's own doing.
    """
    workload = outcome.trial.workload
    spec, span = endpoint.read(workload), spans.get(workload.name)
    factor = Scale.of(spec).factor
    try:
        if endpoint.measure == "final":
            return EndpointValue(factor * final_value(outcome, spec))
        if endpoint.measure == "auc":
            places, values = _curve_by(outcome, spec, endpoint, span)
            return EndpointValue(factor * normalised_auc(places, values), (places[0], places[-1]))
        steps = {} if span is None else {workload.name: (int(span[0]), int(span[1]))}
        if endpoint.clock == "seconds":
            return _seconds_to_target(outcome, spec, span)
        time = steps_to_target(outcome, steps, spec=spec)
        return EndpointValue(-math.log(time.restricted), reached=time.step is not None)
    except (EarlyEndError, ComparisonError) as error:
        return NoValue(str(error), True)
    except UnmeasuredError as error:
        is_unlogged = endpoint.measure == "final" or not curve_points(outcome, spec.metric)
        is_lost = is_unlogged or outcome.state == "diverged"
        return NoValue(str(error), is_lost and endpoint.measure != "time_to_target")


def endpoint_spans(
    outcomes: Iterable[Outcome], endpoint: Endpoint
) -> dict[str, tuple[float, float]]:
    """Return what the curves of an endpoint cover, by workload: steps, or seconds.

    In seconds that is what all completed trials of a workload have in common, so that each has
    been seen for as long.
    """
    spans: dict[str, tuple[float, float]] = {}
    by_workload: dict[str, list[Outcome]] = {}
    for one in outcomes:
        by_workload.setdefault(one.trial.workload.name, []).append(one)
    for name, trials in by_workload.items():
        metric = endpoint.read(trials[0].trial.workload).metric
        steps = curve_spans(trials, metric).get(name)
        if steps is None:
            continue
        spans[name] = steps
        if endpoint.clock == "seconds":
            whole = [
                points
                for one in trials
                if one.state == "completed"
                and (points := curve_points(one, metric))
                and points[-1].step >= last_step(one, steps[1])
            ]
            seconds = [_seconds(points) for points in whole]
            spans[name] = (
                max((each[0] for each in seconds), default=0.0),
                min((each[-1] for each in seconds), default=0.0),
            )
    return spans


def _seconds_to_target(
    outcome: Outcome, spec: MetricSpec, span: tuple[float, float] | None
) -> EndpointValue:
    """Return the seconds of training to the target, within those that all trials were seen for."""
    if span is None or span[1] <= 0:
        raise UnmeasuredError("no trial says in how many seconds the target is to be reached")
    horizon = span[1]
    curve = curve_points(outcome, spec.metric)
    if outcome.state != "diverged":
        first = first_at_target(curve, spec)
        seconds = _seconds(curve)
        if first is not None and 0 < (at := seconds[curve.index(first)]) <= horizon:
            return EndpointValue(-math.log(at))
        if not seconds or seconds[-1] < horizon:
            last = seconds[-1] if seconds else 0
            raise EarlyEndError(f"has {spec.metric} up to {last:.3g} s of {horizon:.3g} s")
    return EndpointValue(-math.log(horizon), reached=False)


def _seconds(curve: Sequence[Point]) -> list[float]:
    """Return the seconds of training at each point; of a step that was run twice they may fall."""
    return list(itertools.accumulate((point.train_seconds for point in curve), max))


def _curve_by(
    outcome: Outcome, spec: MetricSpec, endpoint: Endpoint, span: tuple[float, float] | None
) -> tuple[Sequence[float], list[float]]:
    """Return a curve over the clock of an endpoint: places and values.

    Over seconds it is cut to the `span`, within which every trial was seen.
    """
    if endpoint.clock == "steps":
        of_steps = None if span is None else (int(span[0]), int(span[1]))
        return whole_curve(outcome, spec, of_steps)
    if span is None or span[0] >= span[1]:
        raise UnmeasuredError(f"no two points of {spec.metric} lie within seconds common to all")
    points = curve_points(outcome, spec.metric)
    _, values = measured_curve(outcome, spec, points)
    places = _seconds(points[: len(values)])
    if outcome.state == "diverged":
        places += [places[-1] if places else span[0], span[1]]
        values += [chance_value(outcome, spec, spec.metric)] * 2
    elif not places or places[-1] < span[1]:
        last = places[-1] if places else 0
        raise EarlyEndError(f"has {spec.metric} up to {last:.3g} s of {span[1]:.3g} s")
    return _cut(places, values, span)


def _cut(
    places: Sequence[float], values: Sequence[float], span: tuple[float, float]
) -> tuple[list[float], list[float]]:
    """Return the part of a curve within a span, its ends interpolated."""
    first, last = (float(np.interp(end, places, values)) for end in span)
    inside = [(x, y) for x, y in zip(places, values, strict=True) if span[0] < x < span[1]]
    return (
        [span[0], *(x for x, _ in inside), span[1]],
        [first, *(y for _, y in inside), last],
    )
