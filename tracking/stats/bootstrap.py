"""Scores over all runs and workloads, with intervals by a bootstrap within workloads.

The interquartile mean and the probability of improvement of Agarwal et al. (2021, "Deep
reinforcement learning at the edge of the statistical precipice"). Runs are drawn anew within
each workload, which are taken as given; the intervals are of percentiles, and too narrow for few
runs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.stats.t_tests import LEVEL

_TRIMMED = 0.25  # of all runs, on each side
_REPETITIONS = 5000
_SEED = 0  # equal data give equal intervals

_Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A score with its interval at 95%."""

    value: float
    low: float
    high: float


def interquartile_mean(scores: Sequence[ArrayLike]) -> Interval:
    """Return the mean of the middle half of all runs.

    `scores` has the runs (n,) of each workload, as many as there are. Raises ValueError without
    any.
    """
    strata = [np.asarray(of_one, dtype=np.float64) for of_one in scores]
    if not strata or not all(len(one) for one in strata):
        raise ValueError("every workload needs a run")
    random = np.random.default_rng(_SEED)
    drawn = [one[random.integers(len(one), size=(_REPETITIONS, len(one)))] for one in strata]
    value = float(_trimmed_mean(np.concatenate(strata)[np.newaxis])[0])
    return Interval(value, *_percentiles(_trimmed_mean(np.concatenate(drawn, axis=1))))


def probability_of_improvement(
    candidate: Sequence[ArrayLike], baseline: Sequence[ArrayLike]
) -> Interval:
    """Return how likely a run of the candidate is ahead of one of the baseline.

    The mean over workloads of Mann and Whitney's U as a share of all pairs of runs, a tie one
    half; seeds are not paired. Both arguments have the runs of each workload, in one order; more
    is better. Raises ValueError for unequal numbers of workloads, and without any.
    """
    random = np.random.default_rng(_SEED)
    shares, drawn = [], []
    for one, other in zip(candidate, baseline, strict=True):
        first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
        n, m = len(first), len(second)
        if not n or not m:
            raise ValueError("every workload needs a run of both")
        ahead = (1 + np.sign(first[:, np.newaxis] - second)) / 2  # (n, m)
        # How often each run is drawn stands for drawing it.
        times = random.multinomial(n, np.full(n, 1 / n), _REPETITIONS)
        against = random.multinomial(m, np.full(m, 1 / m), _REPETITIONS)
        shares.append(ahead.mean())
        drawn.append(((times @ ahead) * against).sum(axis=1) / (n * m))
    if not shares:
        raise ValueError("there is no workload")
    return Interval(float(np.mean(shares)), *_percentiles(np.mean(drawn, axis=0)))


def _trimmed_mean(scores: _Floats) -> _Floats:
    """Return the means of rows (k, n) without a quarter of the runs on each side."""
    n = scores.shape[1]
    cut = int(_TRIMMED * n)
    middle: _Floats = np.sort(scores, axis=1)[:, cut : n - cut].mean(axis=1)
    return middle


def _percentiles(drawn: _Floats) -> tuple[float, float]:
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(low), float(high)
