"""What a budget buys: the expected best of k tried settings, and what a decision costs in seeds.

Pure functions; they describe, and no verdict is made from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from tracking.sequential import Shape, limits

_STUDIES = 4000
_Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def expected_best(scores: ArrayLike, k: int, biased: bool = False) -> float:
    """Return the expected best of `k` of the tried settings, whose scores are given, (m,).

    Without replacement, which has no bias (Tang et al. 2020, arXiv 2004.13705); `biased` is the
    plug-in estimate of Dodge et al. (2019), with replacement, which is too low.
    """
    v = np.sort(np.asarray(scores, dtype=np.float64))
    m = len(v)
    if not 1 <= k <= m:
        raise ValueError(f"the best of {k} of {m} settings is not known")
    i = np.arange(1, m + 1)
    if biased:
        return float((v * ((i / m) ** k - ((i - 1) / m) ** k)).sum())
    return float((v * special.comb(i - 1, k - 1)).sum() / special.comb(m, k))


def improvement(candidate: ArrayLike, baseline: ArrayLike) -> float:
    """Return P(candidate > baseline) of unpaired runs: the mean over tasks, ties one half.

    Both have shape (n_runs, n_tasks); n_runs may differ (Mann and Whitney's U over the pairs).
    """
    one, other = (np.asarray(arm, dtype=np.float64) for arm in (candidate, baseline))
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError("runs of the same tasks are needed, shape (n_runs, n_tasks)")
    difference = one[:, None, :] - other[None, :, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def interquartile_mean(scores: ArrayLike) -> float:
    """Return the mean of the middle half of all runs and tasks (Agarwal et al. 2021)."""
    return float(stats.trim_mean(np.asarray(scores, dtype=np.float64).ravel(), 0.25))


@dataclass(frozen=True)
class DecisionCost:
    """What looks cost for one true `effect`, in sd of the paired differences.

    `power` is the chance that the study finds it, `seeds` the mean number it uses.
    """

    effect: float
    power: float
    seeds: float


def decision_costs(
    looks: Sequence[int],
    effects: Sequence[float],
    alpha: float = 0.05,
    shape: Shape = "obrien-fleming",
    strata: int = 1,
    unlike: float = 0.0,
) -> tuple[DecisionCost, ...]:
    """Return power and mean seeds over effects, by a seeded simulation of 4000 studies.

    The first look is at two seeds or more. Gaussian differences on `strata` workloads, pooled as
    the verdicts are; `unlike` is the sd of the logarithms of their spreads. The s.e. of a power is
    below 0.008.
    """
    at = limits(looks, alpha, shape)
    tests = _tests(looks, strata, unlike)
    return tuple(_cost(tests, looks, at, effect) for effect in effects)


@dataclass(frozen=True)
class _Test:
    """The stratified t test of every study at one look, without an effect; arrays (n_studies,).

    An effect moves the mean alone, by `shift` times itself.
    """

    mean: _Array
    se: _Array
    df: _Array
    shift: _Array

    def p(self, effect: float) -> _Array:
        t = (self.mean + effect * self.shift) / self.se
        return np.asarray(2 * special.stdtr(self.df, -np.abs(t)))


def _tests(looks: Sequence[int], strata: int, unlike: float) -> list[_Test]:
    """Draw means and sums of squares from look to look, never the seeds: as few numbers as looks.

    Sums of squares of what was there and what is new merge by the distance of their means (Chan,
    Golub and LeVeque 1983).
    """
    random = np.random.default_rng(0)
    spreads = random.lognormal(0, unlike, (_STUDIES, strata))
    mean = squares = np.zeros((_STUDIES, strata))
    there, found = 0, []
    for n in looks:
        new = n - there
        apart = random.normal(0, new**-0.5, (_STUDIES, strata)) - mean
        squares = squares + apart**2 * (there * new / n)
        if new > 1:
            squares = squares + random.chisquare(new - 1, (_STUDIES, strata))
        mean = mean + apart * (new / n)
        there = n
        variances = spreads**2 * squares / ((n - 1) * n)
        total = variances.sum(axis=1)
        df = total**2 / (variances**2 / (n - 1)).sum(axis=1)
        se = np.sqrt(total) / strata
        found.append(_Test((spreads * mean).mean(axis=1), se, df, spreads.mean(axis=1)))
    return found


def _cost(
    tests: Sequence[_Test], looks: Sequence[int], at: Sequence[float], effect: float
) -> DecisionCost:
    stopped = np.stack([one.p(effect) <= p for one, p in zip(tests, at, strict=True)])
    found = stopped.any(axis=0)
    used = np.where(found, np.asarray(looks)[stopped.argmax(axis=0)], looks[-1])
    return DecisionCost(effect, float(found.mean()), float(used.mean()))
