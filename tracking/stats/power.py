"""Power of the two-sided t test: the differences that a study of some size can detect."""

import math
from functools import lru_cache

from scipy import optimize, special

POWER = 0.8

_FAR = 1e4  # critical t: a first look of two or three seeds at the level of many tests


def power(noncentrality: float, df: float, alpha: float) -> float:
    """Return P(reject) when the true mean is `noncentrality` standard errors from zero."""
    critical = _critical(df, alpha)
    upper = 1 - float(special.nctdtr(df, noncentrality, critical))
    lower = float(special.nctdtr(df, noncentrality, -critical))
    # Far out in the tail scipy gives NaN instead of a probability of 0.
    return upper + (0.0 if math.isnan(lower) else lower)


def smallest_detectable(se: float, df: float, alpha: float) -> float:
    """Return the true difference that the test finds with probability `POWER`.

    In the unit of `se`, the standard error with `df` degrees of freedom; both as observed, so the
    answer is an estimate itself. Noncentral t distribution.
    """
    return se * _detectable(df, alpha)


@lru_cache(maxsize=1024)  # many rows have the same degrees of freedom
def _detectable(df: float, alpha: float) -> float:
    critical = _critical(df, alpha)
    if critical > _FAR:
        # There the noise of the mean is nothing beside that of its standard error, of which the
        # square is a chi-square, and scipy's noncentral t is NaN.
        return critical * math.sqrt(special.chdtri(df, 1 - POWER) / df)
    high = 1.0
    while power(high, df, alpha) < POWER:
        high *= 2
    return float(optimize.brentq(lambda x: power(x, df, alpha) - POWER, 0.0, high))


def _critical(df: float, alpha: float) -> float:
    return -float(special.stdtrit(df, alpha / 2))
