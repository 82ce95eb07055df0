"""The scale of a metric: its unit, its range, and which way is better. Formats nothing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from jobs.contract.workloads.workload import MetricSpec

PP = "pp"

_LARGEST: Mapping[str, float] = {"fraction": 1, "percent": 100}


@dataclass(frozen=True)
class Scale:
    """The scale on which the numbers of a workload are compared.

    Logged values times `factor` are what is reported: percent if `in_points`, so that their
    differences are percentage points, else the plain unit of the metric.
    """

    in_points: bool
    factor: float
    lower_is_better: bool
    largest: float | None

    @staticmethod
    def of(metric_spec: MetricSpec) -> "Scale":
        """Return the scale of the metric that a workload declares."""
        return Scale(
            in_points=metric_spec.unit != "plain",
            factor=100.0 if metric_spec.unit == "fraction" else 1.0,
            lower_is_better=metric_spec.goal == "min",
            largest=_LARGEST.get(metric_spec.unit),
        )

    @property
    def sign(self) -> float:
        """The factor that makes a greater value the better one: 1 or -1."""
        return -1.0 if self.lower_is_better else 1.0

    def unit(self, metric: str) -> str:
        """Return the unit of a difference of `metric`: pp, or the name of the metric."""
        return PP if self.in_points else metric

    def complaint(self, value: float) -> str | None:
        """Say what is wrong with a logged value; None if nothing is."""
        if self.largest is None:
            return None if math.isfinite(value) else "it must be a finite number"
        if 0 <= value <= self.largest:
            return None
        kind = "fraction" if self.largest == 1 else "percentage"
        return f"a {kind} lies between 0 and {self.largest:g}"


def find_impossible(metric_spec: MetricSpec) -> str | None:
    """Say which declared value of a metric its unit does not allow; None if all may be."""
    for name, value in (("chance", metric_spec.chance), ("target", metric_spec.target)):
        if value is not None and (wrong := Scale.of(metric_spec).complaint(value)):
            return f"{name} is {value:g}: {wrong}"
    return None
