"""Mean ranks over data sets, and how far apart they have to be: Friedman, Nemenyi, cliques.

After Demšar (2006). Ranks depend on the pool of candidates, so that this is a picture; verdicts
are made from pairs (Benavoli et al. 2016).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


@dataclass(frozen=True)
class Friedman:
    """The test that all candidates rank alike, by `chi2`, and the sharper F of Iman-Davenport.

    F is None if all data sets rank alike: it would be infinite, and its p-value 0.
    """

    chi2: float
    f: float | None
    p: float
    p_f: float | None


def rank_scores(scores: ArrayLike) -> NDArray[np.float64]:
    """Rank scores, (n_data_sets, n_candidates), within each data set: 1 is the greatest."""
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ValueError("scores are finite, shape (n_data_sets, n_candidates)")
    return np.asarray(stats.rankdata(-table, axis=1))


def friedman(mean_ranks: ArrayLike, n: int) -> Friedman:
    """Test mean ranks, (n_candidates,), of `n` data sets; not corrected for ties."""
    mean = np.asarray(mean_ranks, dtype=np.float64)
    k = len(mean)
    chi2 = 12 * n / (k * (k + 1)) * (float((mean**2).sum()) - k * (k + 1) ** 2 / 4)
    most = n * (k - 1)
    p = float(stats.chi2.sf(chi2, k - 1))
    if chi2 >= most * (1 - 1e-12):
        return Friedman(chi2, None, p, None)
    f = float((n - 1) * chi2 / (most - chi2))
    return Friedman(chi2, f, p, float(stats.f.sf(f, k - 1, (k - 1) * (n - 1))))


@lru_cache  # the quantile takes long to find
def critical_difference(k: int, n: int, alpha: float = 0.05) -> float:
    """Return by how much mean ranks of `k` candidates on `n` data sets must differ (Nemenyi)."""
    quantile = float(stats.studentized_range.ppf(1 - alpha, k, np.inf)) / 2**0.5
    return float(quantile * (k * (k + 1) / (6 * n)) ** 0.5)


def cliques(
    mean_ranks: Sequence[float], differ: Callable[[int, int], bool]
) -> tuple[tuple[int, ...], ...]:
    """Return the longest runs of candidates, by rising rank, of which no two differ.

    What a critical-difference diagram draws as bars; runs of one are left out.
    """
    order = sorted(range(len(mean_ranks)), key=lambda i: mean_ranks[i])
    runs: list[tuple[int, ...]] = []
    for start in range(len(order)):
        end = start + 1
        while end < len(order) and not any(differ(i, order[end]) for i in order[start:end]):
            end += 1
        run = tuple(order[start:end])
        if len(run) > 1 and not any(set(run) <= set(longer) for longer in runs):
            runs.append(run)
    return tuple(runs)
