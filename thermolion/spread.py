"""The second moment at a reference batch, from the spread of the ranks' gradients.

Arithmetic alone: reduces nothing over ranks and knows no optimizer.

A batch of N samples is shared out, n_i to rank i. With G the mean gradient of the batch, μ_i of a
share, and S = Σ n_i/N·μ_i², the expectation of S - G² is the variance of a sample's gradient times
(W - 1)/N, for W ranks that have samples. So E[g_b²], for the mean gradient g_b of any batch b, is
that of G² + k·(S - G²) with k = (N/b - 1)/(W - 1), without bias.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def check_shares(samples: Sequence[int], world_size: int) -> None:
    """Raise ValueError unless `samples` has a whole number for each rank, not all of them 0."""
    whole = all(isinstance(count, int) and count >= 0 for count in samples)
    if len(samples) != world_size or not whole or sum(samples) == 0:
        raise ValueError(
            f"samples is {list(samples)!r}, it must be {world_size} whole numbers, one for each "
            "rank and not all of them 0"
        )


def rank_weight(samples: Sequence[float], rank: int) -> float:
    """Return what a rank multiplies its squared gradient by, so that the sum over ranks is S.

    The gradient of a rank is that of its summed loss times world size / N: its mean over ranks
    is G. With equal shares the weight is 1 / world size; without samples it is 0.
    """
    own = samples[rank]
    return sum(samples) / (len(samples) ** 2 * own) if own else 0.0


def spread_factor(samples: Sequence[float], reference_batch: int | None) -> float:
    """Return k of G² + k·(S - G²), the second moment at a batch of `reference_batch` samples.

    None stands for the share of one rank, where k is 1. If one rank has all samples, nothing is
    known of their spread: k is 0, and the second moment that of the whole batch.
    """
    if reference_batch is None:
        return 1.0
    sharing = sum(count > 0 for count in samples)
    return (sum(samples) / reference_batch - 1) / (sharing - 1) if sharing > 1 else 0.0


@torch.no_grad()
def accumulate_(
    moments: Sequence[Tensor],
    gradients: Sequence[Tensor],
    mean_squares: Sequence[Tensor],
    factor: float,
    beta2: float,
) -> None:
    """Decay running second moments and add (1 - β2)·(G² + k·(S - G²)), in place.

    `gradients` are G, `mean_squares` S, `factor` is k; no tensor of them all is empty. A reference
    above the global batch (k < 0) may turn single elements negative: they are clamped where they
    are used, not here, because the mean over steps of what was clamped would be too large.
    """
    kept, weight = list(moments), 1 - beta2
    torch._foreach_mul_(kept, beta2)
    if factor != 1:
        torch._foreach_addcmul_(kept, list(gradients), list(gradients), weight * (1 - factor))
    if factor != 0:
        torch._foreach_add_(kept, list(mean_squares), alpha=weight * factor)
