"""The share of units that a candidate wins, and the exact sign-flip test of it over strata.

Takes wins and losses, and no size of any difference: an outlier, or a run that has diverged, is
one loss. Pure functions; they decide nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, lcm

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from tracking.stats.t_tests import LEVEL

# A grid on which all units count whole steps is exact, up to a size. A coarser one takes its place
# if strata have very unlike numbers of units, and what is rounded counts against the candidate
# that is ahead.
_LARGEST, _COARSE = 50_000, 1000


@dataclass(frozen=True)
class Stratum:
    """How the units of one stratum went: `won`, `lost` or tied, of `n`."""

    won: int
    lost: int
    n: int

    @property
    def untied(self) -> int:
        return self.won + self.lost

    @property
    def share(self) -> float:
        """The share of wins, a tie counts one half."""
        return (self.won + (self.n - self.untied) / 2) / self.n


@dataclass(frozen=True)
class WinProbability:
    """How often a candidate wins: wins and half ties in units, averaged over strata.

    `won`, `lost` and `n` count the units of all strata. `p` is of the exact sign-flip test, None
    if all units are tied. The interval is exact, given which units are tied, if an untied unit is
    won as often on every stratum.
    """

    won: int
    lost: int
    n: int
    probability: float
    p: float | None
    low: float
    high: float


def win_probability(strata: Sequence[Stratum], level: float = LEVEL) -> WinProbability | None:
    """Estimate how often a candidate wins on these strata; None without any unit.

    The interval, at a `level`, has the probabilities of an untied win that a one-sided test at
    half the rest does not reject. If all strata have as many units it is Clopper and Pearson's; if
    units are then won with unlike probabilities it is too wide, and not too narrow (Hoeffding
    1956). It leaves out one half if, and only if, the test rejects at 1 - `level`.
    """
    counted = [one for one in strata if one.n]
    if not counted:
        return None
    won, lost, n = (sum(getattr(one, name) for one in counted) for name in ("won", "lost", "n"))
    walk = _Walk.of(counted)
    between = walk.interval((1 - level) / 2) if won + lost else (0.0, 1.0)
    low, high = (
        sum((one.untied * q + (one.n - one.untied) / 2) / one.n for one in counted) / len(counted)
        for q in between
    )
    share = sum(one.share for one in counted) / len(counted)
    p = min(1.0, 2 * walk.reaches(0.5, abs(walk.observed))) if won + lost else None
    return WinProbability(won, lost, n, share, p, low, high)


@dataclass(frozen=True)
class _Walk:
    """The weighted sum of wins less losses over strata, as tosses of coins: (untied, step).

    A unit of a stratum of n counts 1/n, in whole steps of a common grid. `slack` bounds the
    rounding of a sum to the grid. If neither arm is ahead each untied unit is won or lost with one
    half, given which are tied, so that all flips of signs are as likely (Fisher 1935, § 21).
    """

    tosses: tuple[tuple[int, int], ...]
    observed: int
    slack: int

    @staticmethod
    def of(strata: Sequence[Stratum]) -> "_Walk":
        whole = lcm(*(one.n for one in strata))
        if whole * len(strata) > _LARGEST:
            whole = _COARSE
        tosses: dict[int, int] = {}
        observed, off = 0, 0.0
        for one in strata:
            step = round(whole / one.n)
            tosses[step] = tosses.get(step, 0) + one.untied
            observed += (one.won - one.lost) * step
            off += 2 * one.untied * abs(whole / one.n - step)  # of this sum and of any other
        return _Walk(tuple((untied, step) for step, untied in tosses.items()), observed, ceil(off))

    def reaches(self, q: float, least: int) -> float:
        """Return P(sum >= `least`) if every untied unit is won with probability `q`."""
        density = np.ones(1)  # of the sum, from its least value on
        for untied, step in self.tosses:
            density = _toss(density, untied, step, q)
        reach = (len(density) - 1) // 2
        return float(density[max(0, least - self.slack + reach) :].sum())

    def interval(self, tail: float) -> tuple[float, float]:
        """Return the probabilities of a win between which no one-sided test at `tail` rejects."""
        most = sum(untied * step for untied, step in self.tosses)
        if tail <= 0:
            return 0.0, 1.0
        low, high = 0.0, 1.0
        if self.observed > -most:
            low = _root(lambda q: self.reaches(q, self.observed) - tail)
        if self.observed < most:
            high = 1 - _root(lambda q: self.reaches(q, -self.observed) - tail)
        return low, high


def _toss(density: NDArray[np.float64], count: int, step: int, q: float) -> NDArray[np.float64]:
    """Return the distribution of a sum with `count` more coins: `step` up with `q`, else down."""
    size, heads = len(density), stats.binom.pmf(np.arange(count + 1), count, q)
    added = np.zeros(size + 2 * count * step)
    for number, chance in enumerate(heads):
        added[2 * number * step : 2 * number * step + size] += chance * density
    return added


def _root(rising: Callable[[float], float]) -> float:
    return float(optimize.brentq(rising, 0.0, 1.0, xtol=1e-12))
