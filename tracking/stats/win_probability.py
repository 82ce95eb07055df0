"""The share of units that a candidate wins, and the exact sign-flip test of it over strata.

Takes wins and losses, and no size of any difference: an outlier, or a run that has diverged, is
one loss. Pure functions; they decide nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, lcm

import numpy as np
from numpy.typing import NDArray

from tracking.stats.t_tests import LEVEL, proportion_interval


@dataclass(frozen=True)
class Stratum:
    """How the units of one stratum went: `won`, `lost` or tied, of `n`."""

    won: int
    lost: int
    n: int

    @property
    def share(self) -> float:
        """The share of wins, a tie counts one half."""
        return (self.won + (self.n - self.won - self.lost) / 2) / self.n


@dataclass(frozen=True)
class WinProbability:
    """How often a candidate wins: wins and half ties in units, averaged over strata.

    `won`, `lost` and `n` count the units of all strata. `p` is of the exact sign-flip test, None
    if all units are tied. The interval is exact given the number of ties; there is none if strata
    have unlike numbers of units.
    """

    won: int
    lost: int
    n: int
    probability: float
    p: float | None
    low: float | None
    high: float | None


def win_probability(strata: Sequence[Stratum], level: float = LEVEL) -> WinProbability | None:
    """Estimate how often a candidate wins on these strata; None without any unit.

    The interval is Clopper and Pearson's for the untied units, at a `level`. If they are won with
    unlike probabilities it is too wide, and not too narrow (Hoeffding 1956). It leaves out one
    half if, and only if, the test rejects at 1 - `level`.
    """
    counted = [one for one in strata if one.n]
    if not counted:
        return None
    won, lost, n = (sum(getattr(one, name) for one in counted) for name in ("won", "lost", "n"))
    untied, low, high = won + lost, None, None
    if len({one.n for one in counted}) == 1:
        between = proportion_interval(won, untied, level) if untied else (0.0, 1.0)
        low, high = ((end * untied + (n - untied) / 2) / n for end in between)
    share = sum(one.share for one in counted) / len(counted)
    return WinProbability(won, lost, n, share, _sign_flip_p(counted), low, high)


def _sign_flip_p(strata: Sequence[Stratum]) -> float | None:
    """Return the p-value of flipping the sign of every untied unit, by complete enumeration.

    Two-sided, of the mean over strata of (won - lost) / n. If neither arm is ahead each untied
    unit is won or lost with one half, given which are tied (Fisher 1935, § 21), so that the
    statistic is a weighted sum of binomial counts, whose distribution is their convolution.
    """
    if not any(one.won + one.lost for one in strata):
        return None
    whole = lcm(*(one.n for one in strata))
    distribution = np.ones(1)  # of the statistic times `whole`, from its least value on
    for one in strata:
        distribution = _add_units(distribution, one.won + one.lost, 2 * whole // one.n)
    reach = (len(distribution) - 1) // 2
    observed = sum((one.won - one.lost) * (whole // one.n) for one in strata)
    values = np.arange(-reach, reach + 1)
    return min(1.0, float(distribution[np.abs(values) >= abs(observed)].sum()))


def _add_units(distribution: NDArray[np.float64], untied: int, step: int) -> NDArray[np.float64]:
    """Return the distribution with so many more coins tossed, each of which counts `step`."""
    size = len(distribution)
    added = np.zeros(size + untied * step)
    for heads in range(untied + 1):
        added[heads * step : heads * step + size] += comb(untied, heads) * distribution
    return added / 2.0**untied
