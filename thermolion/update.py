"""ThermoLion's step as tensor arithmetic (arXiv 2512.01881), one parameter tensor at a time.

Holds no state and draws no noise.
"""

import math

import torch
from torch import Tensor

# Constants of the method that its class exposes as defaults (paper, update rule).
ALIGNMENT_BOOST = 0.5
SOLID_GAIN = 2.0
# Exploration stops once the temperature is this low: after step 458 at a decay of 0.99.
FROZEN = 0.01
# Added to T·mean(v) under the root, so that exploration never has a scale of zero.
NOISE_VARIANCE_FLOOR = 1e-10


def temperature(decay: float, step: int) -> float:
    """Return T_t = decay^t, from T_0 = 1; `step` counts from 1."""
    return decay**step


def explores(temperature: float) -> bool:
    """Whether a step at this temperature adds noise."""
    return temperature > FROZEN


@torch.no_grad()
def update_(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    alignment: float,
    solid_gain: float,
    temperature: float,
    noise: Tensor | None,
) -> None:
    """Update `param`, `exp_avg` (m) and `exp_avg_sq` (v) in place; all have one shape.

    `noise` is standard normal of the same shape, or None for a step without exploration. The
    moments carry no bias correction. The order of operations is that of the published class,
    so that without noise the bits are, too.
    """
    exp_avg.mul_(beta1).add_(grad, alpha=1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)

    magnitude = exp_avg / exp_avg_sq.sqrt().add_(eps)
    gate = magnitude.abs().tanh_()  # 0: gas, the sign; 1: solid, the magnitude
    sign = exp_avg.sign()
    aligned = (sign * grad.sign()).clamp_(0, 1)
    gas = sign.mul_(aligned.mul_(alignment).add_(1))
    solid = magnitude.mul_(solid_gain)
    direction = gas.mul_(1 - gate).add_(solid.mul_(gate))

    param.mul_(1 - lr * weight_decay)
    param.add_(direction, alpha=-lr)
    if noise is not None:
        mean_square = float(exp_avg_sq.mean())
        scale = math.sqrt(max(temperature * mean_square, 0.0) + NOISE_VARIANCE_FLOOR)
        param.sub_(noise * (1 - gate), alpha=lr * scale)
