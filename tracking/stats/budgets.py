"""What trying more buys: the expected best of k settings, and the middle of many runs.

Pure functions; they describe, and no verdict is made from them.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats


def expected_best(scores: ArrayLike, k: int) -> float:
    """Return the expected best of `k` of the tried settings, whose scores are given, (m,).

    Without replacement, which has no bias (Tang et al. 2020, arXiv 2004.13705); the plug-in
    estimate of Dodge et al. (2019), with replacement, is too low.
    """
    v = np.sort(np.asarray(scores, dtype=np.float64))
    m = len(v)
    if not 1 <= k <= m:
        raise ValueError(f"the best of {k} of {m} settings is not known")
    return float((v * special.comb(np.arange(m), k - 1)).sum() / special.comb(m, k))


def interquartile_mean(scores: ArrayLike) -> float:
    """Return the mean of the middle half of all runs and tasks (Agarwal et al. 2021)."""
    return float(stats.trim_mean(np.asarray(scores, dtype=np.float64).ravel(), 0.25))
