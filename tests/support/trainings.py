"""Short trainings of one parameter, and the method as the paper writes it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from normal_draws import standard_normal
from numpy.typing import NDArray
from torch import Tensor, nn

from thermolion import ThermoLion

Array = NDArray[np.float64]

SHAPE = (4, 3)
LAST_NOISY_STEP = 458  # at a decay of 0.99 (paper)


@dataclass
class Reference:
    """The method as the paper writes it, float64, one array; `xi` are the draws of a step."""

    theta: Array
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.99
    temp_decay: float = 0.99
    weight_decay: float = 0.01
    eps: float = 1e-8
    alignment: float = 0.5
    solid_gain: float = 2.0

    def __post_init__(self) -> None:
        self.temperature = 1.0
        self.m = np.zeros_like(self.theta)
        self.v = np.zeros_like(self.theta)

    def step(self, g: Array, xi: Array | None = None) -> None:
        self.temperature = self.temperature * self.temp_decay
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        rho = np.abs(self.m) / (np.sqrt(self.v) + self.eps)
        gate = np.tanh(rho)
        aligned = np.clip(np.sign(self.m) * np.sign(g), 0, 1)
        gas = np.sign(self.m) * (1 + self.alignment * aligned)
        solid = self.solid_gain * self.m / (np.sqrt(self.v) + self.eps)
        update = self.lr * ((1 - gate) * gas + gate * solid)
        if xi is not None and self.temperature > 0.01:
            scale = np.sqrt(self.temperature * np.mean(self.v) + 1e-10)
            update = update + self.lr * (1 - gate) * xi * scale
        self.theta = self.theta * (1 - self.lr * self.weight_decay) - update


def gradients(steps: int, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Array:
    """Return (steps, *shape): columns of other scale; the first column is zero for ten steps."""
    grads = np.random.default_rng(seed).normal(0.1, 1.0, (steps, *shape))
    grads *= np.logspace(-3, 1, shape[-1])
    grads[:10, ..., 0] = 0
    return grads


def start_values(seed: int = 1, shape: tuple[int, ...] = SHAPE) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def parameter(values: Array) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def run(optimizer: torch.optim.Optimizer, param: nn.Parameter, grads: Array) -> None:
    for grad in grads:
        param.grad = torch.tensor(grad, dtype=param.dtype)
        optimizer.step()


def trained(steps: int = 20, **options: Any) -> Tensor:
    param = parameter(start_values())
    run(ThermoLion([param], **options), param, gradients(steps))
    return param.detach()


def draws(seed: int, step: int, param_id: int = 0) -> Array:
    count = math.prod(SHAPE)
    flat = standard_normal(count, seed=seed, step=step, param_id=param_id, dtype=torch.float64)
    return flat.view(SHAPE).numpy()
