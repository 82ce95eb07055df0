"""What a number of seeds and data sets can show, before any trial: scipy is too slow for `plan`.

The noncentral t distribution by quadrature, standard library alone; `tracking.power` is the same
by scipy, for spreads that were seen.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

ALPHA = 0.05  # two-sided, as the comparison tests
WANTED = 0.8

_LARGE_DF = 2000  # beyond, Student's t is normal for what is planned here
_MOST_NODES = 5000
_CLOSE = 1e-8  # of probabilities, and of roots relatively
_NORMAL = NormalDist()


def power(effect: float, n: int, df: int, alpha: float = ALPHA) -> float:
    """Return P(reject) for a true mean of `effect` sd of the differences, of which there are `n`.

    Two-sided t test with `df` degrees of freedom; `df` is n - 1 for one stratum and n less the
    number of strata where all strata have one spread.
    """
    return _power(effect * math.sqrt(n), df, alpha)


def detectable(n: int, df: int, alpha: float = ALPHA) -> float | None:
    """Return the effect, in sd of the differences, that is found with a power of `WANTED`.

    None without a degree of freedom.
    """
    if df < 1:
        return None
    noncentrality = root(lambda x: _power(x, df, alpha) - WANTED, 0.0, 4.0)
    return noncentrality / math.sqrt(n)


def _power(noncentrality: float, df: int, alpha: float) -> float:
    critical = _critical(df, alpha)
    return _beyond(critical, noncentrality, df) + _beyond(critical, -noncentrality, df)


@lru_cache
def _critical(df: int, alpha: float) -> float:
    """Return the t that is exceeded, up or down, with probability `alpha`."""
    return root(lambda t: alpha / 2 - _beyond(t, 0.0, df), 0.0, 4.0)


def _beyond(t: float, noncentrality: float, df: int) -> float:
    """Return P(T > t) of the noncentral t distribution.

    T > t where Z > t S - noncentrality, S the root of chi-square / df; over x = log S the
    integrand vanishes at both ends, where the trapezoid rule is as good as any.
    """
    if df > _LARGE_DF:
        return _NORMAL.cdf(noncentrality - t)
    # Where the mass lies: sd of x 1 / sqrt(2 df), with a long tail below where df is small.
    low, high = -18.0 / df - 6.0 / math.sqrt(df), 4.0 / math.sqrt(df)
    finest = 0.3 / max(math.sqrt(2 * df), abs(noncentrality))
    nodes = min(_MOST_NODES, math.ceil((high - low) / finest))
    step = (high - low) / nodes
    log_constant = (df / 2) * math.log(df / 2) - math.lgamma(df / 2) + math.log(2)
    total = 0.0
    for i in range(nodes + 1):
        root = math.exp(low + i * step)
        density = math.exp(log_constant + df * (low + i * step) - df / 2 * root * root)
        total += density * _upper(t * root - noncentrality)
    return total * step


def _upper(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


def root(
    rising: Callable[[float], float], low: float, high: float, close: float = _CLOSE
) -> float:
    """Return where a rising function is zero, above `low`: regula falsi, the Illinois way."""
    while (at_high := rising(high)) < 0:
        low, high = high, 2 * high
    at_low = rising(low)
    side = 0
    for _ in range(60):
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        value = rising(middle)
        if abs(value) < close or high - low < close * high:
            break
        if value < 0:
            low, at_low, at_high = middle, value, at_high / 2 if side < 0 else at_high
            side = -1
        else:
            high, at_high, at_low = middle, value, at_low / 2 if side > 0 else at_low
            side = 1
    return middle
