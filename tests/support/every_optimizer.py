"""Every optimizer of the registry, built for a short training, and what a test asks of each."""

from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer

from thermolion import registry

NAMES = list(registry.OPTIMIZERS)
# Those that are no classes of torch's: what they cannot step they refuse in our words.
OURS = [name for name in NAMES if not registry.OPTIMIZERS[name].path.startswith("torch")]
# At which the regression of `regression` is learnt in a few dozen steps; 0.02 for the others.
_RATES = {"lion": 0.005, "sgd": 0.05, "swa": 0.05, "rmsprop": 0.005, "muadam": 0.005}


def rate_of(name: str) -> float:
    return _RATES.get(name, 0.02)


def build(name: str, params: Any, **options: Any) -> Any:
    """Build an optimizer at a rate that suits the regression, unless `options` has another."""
    chosen = {"lr": rate_of(name), **options}
    return registry.build(name, params, chosen, seed=0, steps=2, steps_per_epoch=2)


def parameter_of(
    dtype: torch.dtype = torch.float32, shape: tuple[int, ...] = (5,)
) -> nn.Parameter:
    values = torch.arange(1, 1 + torch.Size(shape).numel())
    return nn.Parameter((values / 7).to(dtype).reshape(shape))


def take_steps(optimizer: Optimizer, params: list[nn.Parameter], count: int = 3) -> None:
    """Take steps with gradients that are a function of the step and of the parameter's place."""
    for step in range(1, count + 1):
        for place, param in enumerate(params):
            wave = torch.arange(param.numel(), dtype=torch.float64).add_(step + place).cos()
            param.grad = wave.to(param.dtype).view(param.shape)
        optimizer.step()


def shape_of(value: Any) -> Any:
    """Return the keys and types of a state dict, however deep."""
    if isinstance(value, dict):
        return {key: shape_of(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape_of(item) for item in value]
    return type(value).__name__
