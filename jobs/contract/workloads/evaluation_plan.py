"""When and on how much an image classifier is evaluated while it trains: `evaluate` of a workload.

Planning checks and counts by it, the training loop goes by it. Scores nothing.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

from jobs.contract.workloads.catalog import DataError

_USUAL = "0.25ep"
_INTERVAL = re.compile(r"([0-9]{1,9})([.][0-9]{1,9})? ?(ep|steps?)")
_CHOICES = "write epochs, such as 1ep or 0.25ep, or steps, such as '50 steps'"


def read_interval(value: Any) -> str:
    """Return the time between two evaluations as it is recorded: `0.25ep`, `50 steps`.

    One spelling for each: `1.0 ep` is `1ep`. Raises DataError for anything else.
    """
    parts = _INTERVAL.fullmatch(value) if isinstance(value, str) else None
    if parts is None:
        raise DataError(f"{value!r} is no time between two evaluations: {_CHOICES}")
    whole, part, unit = parts[1], (parts[2] or "").rstrip("0").rstrip("."), parts[3]
    if part and unit != "ep":
        raise DataError(f"{value!r}: there is no part of a step, so {_CHOICES}")
    number = f"{int(whole)}{part}"
    if number == "0":
        raise DataError(f"{value!r} is no time: {_CHOICES}")
    return f"{number}ep" if unit == "ep" else f"{number} step{'s' * (number != '1')}"


@dataclass(frozen=True)
class EvaluationPlan:
    """What is evaluated `every` so often, with `batch` images at a time.

    `every` is as `read_interval` returns it. The untrained model and the last one are evaluated
    in any case, as is each rung at which a trial may end. `samples` is how many images the points
    between these are measured on, None for all that there are; what decides, at a rung or at the
    end, is measured on all. `batch` None stands for what is fast on the device.
    """

    every: str = _USUAL
    batch: int | None = None
    samples: int | None = None

    def content(self) -> dict[str, Any]:
        """Return what is not at its default: a trial by defaults keeps the id of version 1."""
        given = {one.name: (getattr(self, one.name), one.default) for one in fields(self)}
        return {name: value for name, (value, default) in given.items() if value != default}

    @property
    def every_epochs(self) -> Fraction | None:
        """The epochs between two evaluations; None if steps are counted."""
        counts_steps = " " in self.every
        return None if counts_steps else Fraction(self.every.removesuffix("ep"))

    def steps(self, steps_per_epoch: int, epochs: int, rungs: Collection[int] = ()) -> list[int]:
        """Return the steps at which every candidate is evaluated, ascending, from 0 to the last.

        `rungs` are epochs. With epochs as the interval, a point is at the first step that is not
        before its place; if that comes more than once a step, every step has one.
        """
        last = steps_per_epoch * epochs
        whole = self.whole_steps(steps_per_epoch, epochs, rungs)
        every = self.every_epochs
        gap = Fraction(self.every.split()[0]) if every is None else every * steps_per_epoch
        if gap <= 1:
            return list(range(last + 1))
        count = last * gap.denominator // gap.numerator
        between = {-(-place * gap.numerator // gap.denominator) for place in range(count + 1)}
        return sorted(between | whole)

    def whole_steps(
        self, steps_per_epoch: int, epochs: int, rungs: Collection[int] = ()
    ) -> frozenset[int]:
        """Return the steps at which a decision may be made, and so all images are scored."""
        return frozenset({rung * steps_per_epoch for rung in rungs} | {steps_per_epoch * epochs})

    def count_images(self, steps_per_epoch: int, epochs: int, available: int) -> int:
        """Return how many images all evaluations of a curve score, of `available` each time."""
        points = len(self.steps(steps_per_epoch, epochs))
        thinned = min(self.samples or available, available)
        return (points - 1) * thinned + available

    def describe(self) -> list[str]:
        """Return in words what is not as usual."""
        parts = []
        if self.every != _USUAL:
            parts.append(f"evaluated every {self.every}")
        if self.samples is not None:
            parts.append(f"curve on {self.samples:,} images")
        if self.batch is not None:
            parts.append(f"scored by {self.batch}")
        return parts
