"""When one trial reached the target of its workload, in training steps. Compares nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from tracking.endpoints import UnmeasuredError, curve_metric
from tracking.outcomes import Outcome, Point


@dataclass(frozen=True)
class Reach:
    """`step` of the first evaluation at or beyond the target; None where that never came.

    `horizon` is the last step of the budget, where a trial without an event is still without it.
    """

    step: int | None
    horizon: int

    @property
    def restricted(self) -> int:
        """The step, or the whole budget."""
        return self.horizon if self.step is None else self.step


def reach(outcome: Outcome, spans: Mapping[str, tuple[int, int]], in_a_row: int = 1) -> Reach:
    """Return when a completed or diverged trial reached its target, by its own evaluations.

    A trial that diverged never reached it, whatever it had seen before: its weights are lost.
    With `in_a_row` above 1, that many evaluations one after another have to be there, the first
    of which counts. `spans` are of `usual_spans`. Raises UnmeasuredError where the budget is not
    known, a curve ends before it, or the untrained model is at the target already.
    """
    workload = outcome.trial.workload
    metric, target = curve_metric(workload), workload.read_as.target
    assert target is not None
    planned = workload.steps or int(outcome.started.get("steps", 0))
    end = planned or spans.get(workload.name, (0, 0))[1]
    if not end:
        raise UnmeasuredError("no trial says how many steps there are to reach the target in")
    if outcome.state == "diverged":
        return Reach(None, end)
    curve = [point for point in outcome.curve if metric in point.metrics]
    sign = -1.0 if workload.read_as.goal == "min" else 1.0
    there = [sign * point.metrics[metric] >= sign * target for point in curve]
    for first in range(len(curve) - in_a_row + 1):
        if all(there[first : first + in_a_row]):
            return _reached(curve[first], end)
    if not curve or curve[-1].step < end:
        raise UnmeasuredError(f"has {metric} up to step {curve[-1].step if curve else 0} of {end}")
    return Reach(None, end)


def _reached(point: Point, end: int) -> Reach:
    if point.step == 0:
        raise UnmeasuredError("the untrained model is at the target already")
    return Reach(point.step, max(end, point.step))
