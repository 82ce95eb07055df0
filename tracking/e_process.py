"""Evidence that may be looked at any time: the e-t process, for studies without a planned end.

A Gaussian mixture over standardised effects, prior N(0, g), in the scale-invariant filtration
(Wang and Ramdas 2023, arXiv 2310.03722): under no effect it is a test martingale of Gaussian
differences, so that it exceeds 1 / alpha at any time with probability alpha at most. Decides
nothing: planned looks have more power.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

G = 1.0  # variance of the prior over mean / sd
_GREATEST = 700.0  # of a logarithm, before a float overflows


def e_value(t: float, n: int, g: float = G) -> float:
    """Return the e-value of a t statistic of `n` paired differences; 1 of a single one."""
    if n < 1:
        raise ValueError(f"an e-value needs at least one difference, not {n}")
    if n == 1:
        return 1.0
    df, spread = n - 1, 1 + n * g
    ratio = (1 + t * t / df) / (1 + t * t / (df * spread))
    return math.exp(min(_GREATEST, n / 2 * math.log(ratio) - math.log(spread) / 2))


def e_process(differences: ArrayLike, g: float = G) -> tuple[float, ...]:
    """Return the e-values after each of the paired differences, (n,), in the order they came.

    Where all differences so far are equal nothing estimates the error: that one counts 1.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1 or not np.isfinite(d).all():
        raise ValueError("paired differences are finite, one a block, shape (n,)")
    found = []
    for n in range(1, len(d) + 1):
        first = d[:n]
        sd = _spread(first)
        found.append(e_value(float(first.mean()) * math.sqrt(n) / sd, n, g) if sd else 1.0)
    return tuple(found)


def anytime_p(e_values: Sequence[float]) -> float:
    """Return the p-value that holds at whatever time one stops (Ville's inequality)."""
    return min(1.0, 1 / max(e_values, default=1.0))


def confidence_sequence(
    differences: ArrayLike, alpha: float = 0.05, g: float = G
) -> tuple[float, float]:
    """Return the interval for the mean that holds at all times together.

    `differences` have shape (n,). Infinite while they are few, and where they have no spread.
    """
    d = np.asarray(differences, dtype=np.float64)
    n, spread = len(d), 1 + len(d) * g
    a = (spread**0.5 / alpha) ** (2 / n) if n > 1 else math.inf
    sd = _spread(d)
    if a >= spread or not sd:
        return -math.inf, math.inf
    half = sd / n**0.5 * ((n - 1) * (a - 1) / (1 - a / spread)) ** 0.5
    return float(d.mean()) - half, float(d.mean()) + half


def _spread(d: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Return the standard deviation, 0 where it is that of rounding."""
    sd = float(d.std(ddof=1)) if len(d) > 1 else 0.0
    return 0.0 if sd <= 1e-9 * float(np.abs(d).max(initial=0.0)) else sd


def sign_e_value(wins: int, n: int) -> float:
    """Return the e-value of `wins` of `n` differences above zero, whatever their distribution.

    Jeffreys' mixture over the chance of a win; a tie is left out by whoever counts.
    """
    if not 0 <= wins <= n:
        raise ValueError(f"{wins} wins of {n}")
    log = special.betaln(wins + 0.5, n - wins + 0.5) - special.betaln(0.5, 0.5)
    return float(np.exp(n * np.log(2) + log))


def e_bonferroni(e_values: Sequence[float], alpha: float) -> tuple[bool, ...]:
    """Say which of a family are rejected so that any false one has probability `alpha` at most."""
    return tuple(e >= len(e_values) / alpha for e in e_values)
