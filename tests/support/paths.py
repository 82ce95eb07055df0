"""Paths of optimizers along gradients that are drawn beforehand, from one start."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

SHAPES = ((3, 5), (4,))


def drawn_gradients(steps: int, seed: int = 0) -> list[list[np.ndarray]]:
    random = np.random.default_rng(seed)
    return [[random.normal(0.3, 1.0, shape) for shape in SHAPES] for _ in range(steps)]


def start_arrays() -> list[np.ndarray]:
    random = np.random.default_rng(99)
    return [random.normal(size=shape) for shape in SHAPES]


def new_params(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor(values, dtype=dtype)) for values in start_arrays()]


def walk(
    optimizer: Optimizer, params: list[nn.Parameter], gradients: list[list[np.ndarray]]
) -> Iterator[list[torch.Tensor]]:
    for values in gradients:
        for param, grad in zip(params, values, strict=True):
            param.grad = torch.tensor(grad, dtype=param.dtype)
        optimizer.step()
        yield [param.detach().clone() for param in params]
