"""Variance components: how much of the spread of differences is of groups, how much within them.

Pure functions of numbers, in whatever unit. The groups are searches, and their members the blocks
that are trained with the settings of one search.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Components:
    """Where the spread of a paired difference comes from: sd of the search, and of the block.

    In the unit of the difference. `search_variance` is the estimate behind `search_sd`: below 0
    if searches differ by less than their blocks would make them differ.
    """

    search_sd: float
    block_sd: float
    search_variance: float

    @staticmethod
    def of(search_variance: float, block_variance: float) -> "Components":
        """Return the components of two estimated variances; a negative one counts as 0."""
        return Components(max(0.0, search_variance) ** 0.5, block_variance**0.5, search_variance)

    @staticmethod
    def average(several: Sequence["Components"]) -> "Components":
        """Average the variances of several workloads."""
        search = np.mean([one.search_variance for one in several])
        return Components.of(float(search), float(np.mean([one.block_sd**2 for one in several])))


def estimate_components(groups: Sequence[Sequence[float]]) -> Components | None:
    """Estimate the variance of searches and of blocks from the differences of each search.

    One-way random effects by the method of moments, for groups of unlike size too (Searle,
    Casella and McCulloch 1992, § 3.6). None for fewer than two searches, and if none has two
    blocks.
    """
    arrays = [np.asarray(group, dtype=np.float64) for group in groups if len(group)]
    sizes = np.array([len(group) for group in arrays])
    k, n = len(arrays), int(sizes.sum())
    if k < 2 or n == k:
        return None
    means = np.array([group.mean() for group in arrays])
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in arrays) / (n - k)
    grand = float((sizes * means).sum()) / n
    between = float((sizes * (means - grand) ** 2).sum()) / (k - 1)
    size = (n - float((sizes**2).sum()) / n) / (k - 1)
    return Components.of((between - within) / size, within)
