"""The scale of a metric: its unit, its range, and which way is better. Formats nothing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from jobs.contract.trial import MetricSpec

PP = "pp"

_LARGEST: Mapping[str, float] = {"fraction": 1, "percent": 100}


@dataclass(frozen=True)
class Scale:
    """How the numbers of a workload are compared.

    Logged values times `factor` are what is reported: percent where `in_points`, so that their
    differences are percentage points, else the plain unit of the metric.
    """

    in_points: bool
    factor: float
    lower_is_better: bool
    largest: float | None

    @staticmethod
    def of(reading: MetricSpec) -> "Scale":
        return Scale(
            in_points=reading.unit != "plain",
            factor=100.0 if reading.unit == "fraction" else 1.0,
            lower_is_better=reading.goal == "min",
            largest=_LARGEST.get(reading.unit),
        )

    def unit(self, metric: str) -> str:
        """Return the unit of a difference of `metric`: pp, or what stands for it, its name."""
        return PP if self.in_points else metric

    def complaint(self, value: float) -> str | None:
        """Say what is wrong with a logged value, None where nothing is."""
        if self.largest is None:
            return None if math.isfinite(value) else "it must be a finite number"
        if 0 <= value <= self.largest:
            return None
        kind = "fraction" if self.largest == 1 else "percentage"
        return f"a {kind} lies between 0 and {self.largest:g}"
