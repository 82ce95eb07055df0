"""What trying more buys: the expected best of k settings, and the middle half of many runs.

Pure functions; they describe, and no verdict is made from them.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats


def expected_best(scores: ArrayLike) -> tuple[float, ...]:
    """Return the expected best of k of the tried settings, for k from 1 to m, given scores (m,).

    Without replacement, which has no bias (Tang et al. 2020, arXiv 2004.13705); the plug-in
    estimate of Dodge et al. (2019), with replacement, is too low.
    """
    v = np.sort(np.asarray(scores, dtype=np.float64))
    m = len(v)
    return tuple(
        float((v * special.comb(np.arange(m), k - 1)).sum() / special.comb(m, k))
        for k in range(1, m + 1)
    )


def interquartile_mean(scores: ArrayLike) -> float:
    """Return the mean of the middle half of all scores, of any shape (Agarwal et al. 2021)."""
    return float(stats.trim_mean(np.asarray(scores, dtype=np.float64).ravel(), 0.25))
