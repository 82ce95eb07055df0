"""What a run says about its own end: whether it diverged, and what of it can be compared.

Compares no runs with each other.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from jobs.contract.workloads.workload import MetricSpec
from tracking.foreign.run import ForeignRun
from tracking.history import State
from tracking.metric import Scale

_TELLING_VALUES = 6  # two curves of so many different values are not equal by chance


@dataclass(frozen=True)
class MeasuredRun:
    """A run, its state by what it has logged, and why it has no result, if it has none."""

    run: ForeignRun
    state: State
    error: str = ""

    @property
    def end(self) -> int | None:
        """Return the step of the last value of its curve; None without a curve."""
        return self.run.curve[-1].step if self.run.curve else None

    @property
    def trace(self) -> tuple[tuple[int, float], ...] | None:
        """Return its curve; None if it is too short to be that of no other run."""
        curve = tuple((one.step, one.value) for one in self.run.curve)
        return curve if len({value for _, value in curve}) >= _TELLING_VALUES else None


def measure_run(run: ForeignRun, spec: MetricSpec, at_step: int | None = None) -> MeasuredRun:
    """Read how a run has ended; `at_step` leaves out what came after it.

    NaN and infinity at the end are a divergence, also if the run has failed of them or ended
    before `at_step`. A run that has come to `at_step` is complete there, whatever became of it.
    """
    state, short = run.state, ""
    if at_step is not None:
        reached = bool(run.curve) and run.curve[-1].step >= at_step
        curve = tuple(one for one in run.curve if one.step <= at_step)
        latest = {spec.metric: curve[-1].value} if curve else {}
        run = replace(run, curve=curve, latest=latest)
        if reached and curve:
            state = "completed"
        elif state == "completed":
            end = f"ended at step {curve[-1].step}" if curve else f"has no {spec.metric}"
            state, short = "failed", f"{end}, before step {at_step}"
    if state not in ("completed", "failed"):
        return MeasuredRun(run, state)
    broken = dict(_not_finite(run, spec))
    if broken:
        named = " and ".join(f"{metric} is {value}" for metric, value in broken.items())
        return MeasuredRun(run, "diverged", f"{named} at its end")
    if state == "failed":
        return MeasuredRun(run, state, short or f"run {run.id} failed")
    return MeasuredRun(run, state)


def find_impossible(one: MeasuredRun, spec: MetricSpec) -> str | None:
    """Return a message for a value that the unit of the metric does not allow; None if all may be.

    Values that are not finite are none of them.
    """
    if one.state != "completed":
        return None
    complain = Scale.of(spec).complaint
    values = {spec.metric: [point.value for point in one.run.curve]}
    for metric in (spec.metric, spec.final_metric or spec.metric):
        if metric in one.run.latest:
            values.setdefault(metric, []).append(one.run.latest[metric])
    for metric, logged in values.items():
        for value in logged:
            if math.isfinite(value) and (wrong := complain(value)):
                return f"{metric} is {value:g}: {wrong}"
    return None


def _not_finite(run: ForeignRun, spec: MetricSpec) -> Iterator[tuple[str, float]]:
    """Yield the metrics whose last values are not finite, with one of them."""
    if run.curve and not math.isfinite(run.curve[-1].value):
        yield spec.metric, run.curve[-1].value
    for metric in (spec.metric, spec.final_metric or spec.metric):
        if metric in run.latest and not math.isfinite(run.latest[metric]):
            yield metric, run.latest[metric]
