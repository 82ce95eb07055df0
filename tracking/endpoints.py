"""Endpoints: the two numbers of a trial that comparisons are made of, in percentage points.

A trial that diverged is a result, not a gap: its final accuracy is chance, and its curve stays at
chance from the divergence to the planned end (intention to treat). Compares nothing.
"""

import math
from dataclasses import dataclass
from typing import Literal

from jobs.trial import Workload
from tracking.curves import normalised_auc
from tracking.outcomes import Outcome

Endpoint = Literal["final_test_accuracy", "val_auc"]
ENDPOINTS: tuple[Endpoint, ...] = ("final_test_accuracy", "val_auc")


class ComparisonError(Exception):
    """Results that must not be compared, with what is wrong and where."""


class UnmeasuredError(Exception):
    """A trial that ended without what an endpoint needs; the message names it."""


@dataclass(frozen=True)
class Score:
    """Both endpoints of one trial that has a result, percentage points."""

    final_test_accuracy: float
    val_auc: float

    def of(self, endpoint: Endpoint) -> float:
        return self.final_test_accuracy if endpoint == "final_test_accuracy" else self.val_auc


def curve_metric(workload: Workload) -> str:
    """Return the metric whose curve measures speed: of held-out data, where there is any."""
    return "train_accuracy" if workload.split == "replication" else "val_accuracy"


def score(outcome: Outcome) -> Score:
    """Return the endpoints of a completed or diverged trial.

    Raises UnmeasuredError where its log lacks what they need, ComparisonError for NaN in a
    completed trial.
    """
    return Score(
        final_test_accuracy=100 * _final_test_accuracy(outcome),
        val_auc=100 * _auc(outcome),
    )


def _final_test_accuracy(outcome: Outcome) -> float:
    if outcome.state == "diverged":
        return _chance(outcome, "test_accuracy")
    if "test_accuracy" not in outcome.metrics:
        raise UnmeasuredError("ended without test_accuracy")
    return _checked(outcome, "test_accuracy", outcome.metrics["test_accuracy"])


def _auc(outcome: Outcome) -> float:
    metric = curve_metric(outcome.trial.workload)
    end = int(outcome.started["steps"]) if "steps" in outcome.started else 0
    curve = [point for point in outcome.curve if metric in point.metrics]
    diverged = outcome.state == "diverged"
    if not curve or curve[0].step != 0:
        raise UnmeasuredError(f"has no {metric} of the untrained point")
    if end == 0 or (curve[-1].step != end and not diverged):
        raise UnmeasuredError(f"has {metric} up to step {curve[-1].step} of {end or 'unknown'}")
    steps: list[int] = []
    values: list[float] = []
    for point in curve:
        if diverged and not all(map(math.isfinite, point.metrics.values())):
            steps.append(point.step)
            values.append(_chance(outcome, metric))
            break
        steps.append(point.step)
        values.append(_checked(outcome, metric, point.metrics[metric]))
    if steps[-1] < end:  # the curve breaks off: at chance from its last point on
        steps += [steps[-1], end]
        values += [_chance(outcome, metric)] * 2
    return normalised_auc(steps, values)


def _chance(outcome: Outcome, metric: str) -> float:
    chance = outcome.started.get("chance", {})
    if metric not in chance:
        raise UnmeasuredError(f"diverged, and the chance level of {metric} is not in its log")
    return float(chance[metric])


def _checked(outcome: Outcome, metric: str, value: float) -> float:
    if not 0 <= value <= 1:
        trial = outcome.trial
        raise ComparisonError(
            f"{metric} of {trial.candidate.name} on {trial.workload.name}, block {trial.block} "
            f"(trial {trial.id}) is {value}: an accuracy is a fraction between 0 and 1, and a "
            "trial that lost it has diverged; see what logged it"
        )
    return value
