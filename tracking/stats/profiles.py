"""Performance profiles: on what share of workloads a candidate is within a factor of the fastest.

Dolan and Moré (2002), scored as AlgoPerf does (Dahl et al. 2023), the integral exact. A score
depends on which other candidates are compared: an illustration, no test.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.stats.survival import median_time

MAX_RATIO = 4.0


@dataclass(frozen=True)
class Profile:
    """`ratios` to the fastest, (n_candidates, n_workloads), inf if the target was missed.

    `scores` are the areas below the profiles from 1 to `MAX_RATIO`, at most 1. `solved` is True
    for the workloads that any candidate solved; the others take no part.
    """

    ratios: NDArray[np.float64]
    scores: tuple[float, ...]
    solved: tuple[bool, ...]


def profile(times: ArrayLike) -> Profile:
    """Profile times to target, (n_candidates, n_workloads), inf if one was missed.

    Raises ValueError if no candidate reached the target of any workload.
    """
    t = np.asarray(times, dtype=np.float64)
    if t.ndim != 2 or np.isnan(t).any() or (t <= 0).any():
        raise ValueError("times are positive or inf, shape (n_candidates, n_workloads)")
    solved = np.isfinite(t).any(axis=0)
    if not solved.any():
        raise ValueError("no candidate reached any target: there is nothing to profile")
    ratios = t[:, solved] / t[:, solved].min(axis=0)
    gained = np.maximum(0.0, (MAX_RATIO - ratios) / (MAX_RATIO - 1))
    is_solved = tuple(bool(np.isfinite(column).any()) for column in t.T)
    return Profile(ratios, tuple(gained.mean(axis=1).tolist()), is_solved)


def jackknife_ranges(times: ArrayLike) -> tuple[tuple[float, float], ...]:
    """Return the least and the greatest score of each candidate when one seed is left out.

    `times` have shape (n_seeds, n_candidates, n_workloads); a cell is the `median_time` over
    seeds.
    Raises ValueError for fewer than two seeds, and if nothing is solved without one of them.
    """
    t = np.asarray(times, dtype=np.float64)
    if t.ndim != 3 or len(t) < 2:
        raise ValueError("two seeds at least, shape (n_seeds, n_candidates, n_workloads)")
    scores = [profile(median_time(np.delete(t, seed, axis=0))).scores for seed in range(len(t))]
    return tuple((min(each), max(each)) for each in zip(*scores, strict=True))
