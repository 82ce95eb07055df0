"""Stratified draws: a fixed number of items in which every class keeps its share.

Knows labels and a generator; what the items are is the caller's business.
"""

import torch
from torch import Tensor


def draw(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` ascending indices into `labels` (n,), by class in proportion.

    Fractions go to the classes with the largest remainder, the smaller label first.
    """
    sizes = torch.bincount(labels)
    scaled = sizes * count
    quotas = scaled // len(labels)
    remainders = scaled % len(labels)
    short = count - int(quotas.sum())
    quotas[torch.argsort(remainders, descending=True, stable=True)[:short]] += 1
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    position = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes)[labels[by_class]]
    return by_class[position < quotas[labels[by_class]]].sort().values
