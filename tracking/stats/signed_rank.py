"""Wilcoxon's signed-rank test, exact for few values, and the estimate and interval behind it.

Pure functions of numbers, in whatever unit. Assumes values that are symmetric about their middle,
and no normal distribution; decides nothing.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from tracking.stats.t_tests import LEVEL

EXACT_UP_TO = 200  # values; beyond, the normal approximation is as good
MOST_WALSH = 2000  # values; beyond, their averages by pairs are too many to hold


@dataclass(frozen=True)
class SignedRankTest:
    """`p` is two-sided, `floor` the smallest that so many values without ties can give."""

    p: float
    floor: float


@dataclass(frozen=True)
class PseudoMedian:
    """The median of all averages by pairs, and its exact interval; infinite if n is small."""

    estimate: float
    low: float
    high: float


def rank_floor(n: int) -> float:
    """Return the smallest p-value that `n` values can give: 2/2^n."""
    return min(1.0, 2.0 ** (1 - n))


def signed_rank_test(values: ArrayLike, resolution: float = 0.0) -> SignedRankTest | None:
    """Test that values, (n,), lie symmetrically about zero; None if all are zero (Wilcoxon 1945).

    Values are rounded to multiples of `resolution` first, so that rounding errors make no ranks.
    Zeros are dropped. Ties have the mean of their ranks and, up to `EXACT_UP_TO` values, the
    distribution of values without ties, which scipy leaves by default as soon as there are any.
    `scipy.stats.wilcoxon` gives the same, but takes five milliseconds, a hundred times this.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not np.isfinite(x).all():
        raise ValueError(f"finite values of shape (n,) are needed: {x.tolist()}")
    rounded = np.round(x / resolution) * resolution if resolution else x
    kept = rounded[rounded != 0]
    n = len(kept)
    if not n:
        return None
    if n > EXACT_UP_TO:
        return SignedRankTest(
            float(stats.wilcoxon(kept, method="asymptotic").pvalue), rank_floor(n)
        )
    _, places, counts = np.unique(np.abs(kept), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positive = float(ranks[kept > 0].sum())
    fewer = min(positive, n * (n + 1) / 2 - positive)
    return SignedRankTest(min(1.0, 2 * float(_cumulative(n)[math.ceil(fewer)])), rank_floor(n))


def hodges_lehmann(values: ArrayLike, level: float = LEVEL) -> PseudoMedian | None:
    """Return the median of the averages of all pairs of values, (n,), each with itself too.

    The interval has the shifts that the exact signed-rank test does not reject at 1 - `level`,
    zeros and ties left aside (Hodges and Lehmann 1963). None without a value and for more than
    `MOST_WALSH`.
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    if not 0 < n <= MOST_WALSH:
        return None
    rows, columns = np.triu_indices(n)
    walsh = np.sort((x[rows] + x[columns]) / 2)
    below = _tail(n, (1 - level) / 2)
    if below < 0:
        return PseudoMedian(float(np.median(walsh)), -np.inf, np.inf)
    return PseudoMedian(float(np.median(walsh)), float(walsh[below]), float(walsh[-1 - below]))


def _tail(n: int, tail: float) -> int:
    """Return the greatest rank sum w with P(W <= w) <= `tail`; -1 if there is none.

    scipy has the test, but neither the quantiles of its statistic nor an interval made of them.
    """
    if n <= EXACT_UP_TO:
        return int(np.searchsorted(_cumulative(n), tail, side="right")) - 1
    sd = (n * (n + 1) * (2 * n + 1) / 24) ** 0.5
    return int(n * (n + 1) / 4 + float(special.ndtri(tail)) * sd)


@lru_cache(maxsize=64)
def _cumulative(n: int) -> NDArray[np.float64]:
    """Return P(W <= index), the sum of the positive ones of ranks 1 to n under random signs."""
    chances = np.zeros(n * (n + 1) // 2 + 1)
    chances[0] = 1.0
    for rank in range(1, n + 1):
        chances[rank:] += chances[:-rank]
        chances /= 2
    return np.cumsum(chances)
