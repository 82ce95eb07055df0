"""Group-sequential tests: p-value limits for a few looks at growing data, declared beforehand.

Pure functions of numbers of seeds and of p-values; they stop nothing. Between looks the statistic
moves like a sum of independent normal increments; at each look the two-sided p-value of a t test
is compared with the limit of that look (the significance-level approach of Jennison and Turnbull
2000, § 4.4). That is approximate if the first look has few seeds.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

# How the limits rise: O'Brien and Fleming (1979) ask for much at first, Pocock (1977) for the
# same at every look.
Shape = Literal["obrien-fleming", "pocock"]

_POWER = {"obrien-fleming": 0.5, "pocock": 0.0}

_NARROWEST = 8  # nodes for each standard deviation of an increment
_FARTHEST = 12.0  # standard deviations: beyond, there is nothing left to integrate

_Vector = np.ndarray[tuple[int], np.dtype[np.float64]]

_gauss_legendre = lru_cache(maxsize=64)(np.polynomial.legendre.leggauss)


def limits(
    looks: Sequence[int], alpha: float, shape: Shape = "obrien-fleming"
) -> tuple[float, ...]:
    """Return the two-sided p-value at or below which each look stops, for a total level `alpha`.

    `looks` are the numbers of seeds at which one looks, rising; (n_looks,) limits.
    """
    return _limits(tuple(looks), alpha, shape)


@lru_cache(maxsize=256)  # every row of a comparison asks for the same few
def _limits(looks: tuple[int, ...], alpha: float, shape: Shape) -> tuple[float, ...]:
    seeds = _check(looks)
    if not 0 < alpha < 1:
        raise ValueError(f"a level lies between 0 and 1, not {alpha}")

    def excess(constant: float) -> float:
        return crossing_probability(seeds, _bounds(seeds, constant, shape)) - alpha

    # The last look alone needs the one, and Bonferroni's inequality bounds the other.
    least, most = (float(-special.ndtri(alpha / (2 * n))) for n in (1, len(seeds)))
    constant = float(optimize.brentq(excess, least - 1e-9, most + 1e-9, xtol=1e-12))
    return tuple(float(p) for p in 2 * special.ndtr(-_bounds(seeds, constant, shape)))


def repeated_p(
    looks: Sequence[int], look: int, p: float, shape: Shape = "obrien-fleming"
) -> float:
    """Return the smallest total level at which a look with the p-value `p` would have stopped.

    `look` counts from 1. The least of those up to a look is valid at whatever look one stops, and
    is what Holm's method may take (Jennison and Turnbull 2000, § 9.2).
    """
    seeds = _check(looks)
    if not 1 <= look <= len(seeds):
        raise ValueError(f"look {look} is not one of 1 to {len(seeds)}")
    if not 0 <= p <= 1:
        raise ValueError(f"a p-value lies between 0 and 1, not {p}")
    if p == 0:
        return 0.0
    z = float(-special.ndtri(p / 2))
    constant = z * (seeds[look - 1] / seeds[-1]) ** _POWER[shape]
    return crossing_probability(seeds, _bounds(seeds, constant, shape))


def crossing_probability(looks: ArrayLike, bounds: ArrayLike) -> float:
    """Return P(|Z_k| >= bound_k at any look) without an effect; both (n_looks,).

    `looks` are the numbers of seeds of each. The density of what has not crossed is carried from
    look to look by quadrature (Armitage, McPherson and Rowe 1969), to about ten digits.
    """
    seeds = _check(looks)
    z = np.minimum(np.asarray(bounds, dtype=np.float64), _FARTHEST)
    half = z * np.sqrt(seeds)  # of the sum of the increments, one a seed
    steps = np.sqrt(np.diff(seeds, prepend=0.0))
    x, weights = _nodes(half[0], steps[0])
    density = _normal(x, steps[0]) * weights
    for k in range(1, len(seeds)):
        following, weights = _nodes(half[k], steps[k])
        moved = _normal(following[:, None] - x[None, :], steps[k]) @ density
        x, density = following, moved * weights
    return float(min(1.0, max(0.0, 1 - density.sum())))


def _bounds(seeds: _Vector, constant: float, shape: Shape) -> _Vector:
    return np.asarray(constant * (seeds[-1] / seeds) ** _POWER[shape], dtype=np.float64)


def _normal(x: _Vector, sd: float) -> _Vector:
    return np.asarray(np.exp(-0.5 * (x / sd) ** 2) / (sd * (2 * np.pi) ** 0.5))


def _nodes(half: float, sd: float) -> tuple[_Vector, _Vector]:
    """Return nodes on (-half, half) and weights, close enough for increments of this spread."""
    count = int(np.clip(_NARROWEST * half / sd, 40, 2000))
    x, weights = _gauss_legendre(count)
    return half * x, half * weights


def _check(looks: ArrayLike) -> _Vector:
    seeds = np.asarray(looks, dtype=np.float64)
    if seeds.ndim != 1 or not len(seeds) or seeds[0] < 1 or (np.diff(seeds) <= 0).any():
        raise ValueError(f"looks are rising numbers of seeds, such as [3, 5, 7, 10]: {looks!r}")
    return seeds
