"""What looks at growing numbers of seeds can show, before any trial, and how many seeds they take.

Standard library alone, as `power` is; `tracking.sequential` has the limits that studies are
stopped by, and agrees. Between looks the statistic moves like a sum of normal increments; at each
look its chance to cross is that of the noncentral t distribution. Against simulated studies power
is good to about 0.01.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

from orchestrator.power import WANTED, power, root

Shape = Literal["obrien-fleming", "pocock"]

_NODES = 6  # for each standard deviation of an increment, on either side of the middle
_FEWEST, _MOST = 24, 96
_CLOSE = 1e-4  # of powers, and of effects relatively
_FARTHEST = 8.0  # standard deviations: beyond, nobody crosses
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Course:
    """How a study by looks goes: the chance to decide one test, and the mean seeds until then."""

    power: float
    seeds: float


@dataclass(frozen=True)
class Design:
    """Looks at rising numbers of seeds on `strata` workloads of one spread, for one test."""

    looks: tuple[int, ...]
    shape: Shape
    strata: int
    alpha: float

    def course(self, effect: float) -> Course:
        """Return what happens where the true mean is `effect` sd of the paired differences."""
        bounds = _bounds(self.looks, self.shape, self.alpha)
        drifts = [
            self._drift(n, bound, effect) for n, bound in zip(self.looks, bounds, strict=True)
        ]
        crossed = _crossed(self.looks, bounds, drifts)
        left = [1 - chance for chance in crossed]
        more = [self.looks[0], *(b - a for a, b in zip(self.looks, self.looks[1:], strict=False))]
        seeds = sum(new * there for new, there in zip(more, [1.0, *left], strict=False))
        return Course(crossed[-1], seeds)

    def detectable(self) -> float:
        """Return the effect that is found with a power of `WANTED` by the last look."""
        return root(lambda effect: self.course(effect).power - WANTED, 0.0, 1.0, _CLOSE)

    def _drift(self, n: int, bound: float, effect: float) -> float:
        """Return the mean of a normal statistic that crosses as often as Student's t does."""
        if not effect:
            return 0.0
        strata = self.strata
        chance = power(effect, n * strata, strata * (n - 1), 2 * _NORMAL.cdf(-bound))
        return root(lambda mean: _beyond(bound, mean) - min(chance, 1 - 1e-9), 0.0, bound)


def _beyond(bound: float, mean: float) -> float:
    return _NORMAL.cdf(mean - bound) + _NORMAL.cdf(-mean - bound)


@lru_cache
def _bounds(looks: tuple[int, ...], shape: Shape, alpha: float) -> tuple[float, ...]:
    """Return the |z| that stops each look, for a total level `alpha`."""
    rise = [(looks[-1] / n) ** (0.5 if shape == "obrien-fleming" else 0.0) for n in looks]

    def bounds(constant: float) -> list[float]:
        return [constant * each for each in rise]

    least = -_NORMAL.inv_cdf(alpha / 2)  # the last look alone needs it
    none = [0.0] * len(looks)
    constant = root(
        lambda more: 1 - _crossed(looks, bounds(least + more), none)[-1] / alpha,
        -1e-3,
        0.3,
        _CLOSE,
    )
    return tuple(bounds(least + constant))


def _crossed(
    looks: Sequence[int], bounds: Sequence[float], drifts: Sequence[float]
) -> list[float]:
    """Return the chance to have crossed by each look, the statistic having these means.

    The density of what has not crossed is carried on by Simpson's rule (Armitage, McPherson and
    Rowe 1969).
    """
    sums = [drift * math.sqrt(n) for drift, n in zip(drifts, looks, strict=True)]
    there: list[tuple[float, float]] = [(0.0, 1.0)]  # of the sum so far: place, weight
    found, before, mean = [], 0, 0.0
    for n, bound, ahead in zip(looks, bounds, sums, strict=True):
        sd, shift = math.sqrt(n - before), ahead - mean
        factor, scale = 1 / (sd * math.sqrt(2 * math.pi)), -0.5 / (sd * sd)
        density = [
            (
                x,
                weight
                * factor
                * sum(w * math.exp(scale * (x - y - shift) ** 2) for y, w in there),
            )
            for x, weight in _simpson(
                min(bound, _FARTHEST + abs(ahead) / math.sqrt(n)) * n**0.5, sd
            )
        ]
        there, before, mean = density, n, ahead
        found.append(min(1.0, max(0.0, 1 - sum(weight for _, weight in there))))
    return found


def _simpson(half: float, sd: float) -> list[tuple[float, float]]:
    """Return nodes on (-half, half) and weights, close enough for increments of this spread."""
    count = 2 * math.ceil(min(_MOST, max(_FEWEST, _NODES * half / sd)) / 2)
    step = 2 * half / count
    ends = {0, count}
    return [
        (-half + i * step, step / 3 * (1 if i in ends else 4 if i % 2 else 2))
        for i in range(count + 1)
    ]
