"""Parameter groups: which parameters of a model are spared the weight decay.

Knows torch's own normalisation modules (and what is derived from them); builds no optimizer.
"""

import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any

from torch import nn

NORMALISATIONS = (
    nn.modules.batchnorm._NormBase,  # batch and instance normalisation, of all dimensions
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


def parameters(
    model: nn.Module, no_decay: Collection[str], optimizer: Callable[..., Any]
) -> Iterable[Any]:
    """Return what `optimizer` is given: the parameters of `model`, or two groups of them.

    `no_decay` names `bias` (every parameter whose name ends so) and `norm` (those of a
    normalisation): these get a weight decay of 0 and come last, in the model's order. An
    optimizer that has no `weight_decay` is given the parameters as they are.
    """
    if not no_decay or not _decays(optimizer):
        return model.parameters()
    of_norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, NORMALISATIONS)
        for parameter in module.parameters(recurse=False)
    }
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_spared = ("bias" in no_decay and name.endswith("bias")) or (
            "norm" in no_decay and id(parameter) in of_norms
        )
        (spared if is_spared else decayed).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _decays(optimizer: Callable[..., Any]) -> bool:
    """Say whether an optimizer has a weight decay; one that hands on what it is given may."""
    taken = inspect.signature(optimizer).parameters
    hands_on = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values())
    return hands_on or "weight_decay" in taken
