"""What a step of ThermoLion is taken with, and on: numbers, and lists of tensors. Takes none."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thermolion.exploration import is_dense, same_layout
from thermolion.shards import local


@dataclass(frozen=True)
class Rates:
    """What a step is taken with; a learning rate that is a tensor is not read by the host."""

    lr: float | Tensor
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    alignment: float
    solid_gain: float

    def bound(self, dtype: torch.dtype) -> float | None:
        """Return what |m|/√v can never exceed, where `dtype` might have lost v to underflow.

        By the inequality of Cauchy and Schwarz, from the weights of both averages. None where no
        clamp is needed: other types than float16 have an ε that is large enough.
        """
        share = 1 - self.beta1**2 / self.beta2 if self.beta2 else 0.0
        if dtype != torch.float16 or share <= 0:
            return None
        return (1 - self.beta1) / math.sqrt((1 - self.beta2) * share)

    def floor(self, dtype: torch.dtype) -> float:
        """Return ε, but never so small that `dtype` would divide zero by zero."""
        return max(self.eps, torch.finfo(dtype).tiny)


@dataclass
class Work:
    """The tensors of one step, in lists of equal length, all of one dtype and device.

    Where `gate_sqs` is given, it is the second moment of the gate alone, and the magnitude step
    keeps `exp_avg_sqs`. Where `directions` is given, a step writes u of θ ← θ·(1 - lr·wd) - lr·u
    into it and leaves `params` as they are, for `lists.apply_`.
    """

    params: list[Tensor]
    grads: list[Tensor]
    exp_avgs: list[Tensor]
    exp_avg_sqs: list[Tensor]
    gate_sqs: list[Tensor] | None = None
    directions: list[Tensor] | None = None


def gradient(param: Tensor) -> Tensor:
    """Return the gradient, in the layout of the parameter where that is dense.

    Of a sharded one, it is what this rank holds.
    """
    assert param.grad is not None
    grad, param = local(param.grad), local(param)
    if same_layout(param, grad) or not is_dense(param):
        return grad
    return torch.empty_like(param).copy_(grad)


def array(tensor: Tensor) -> Tensor:
    """Return what this rank holds of a tensor, and a tensor of no dimensions as an array of one.

    The latter, because torch rounds the two differently.
    """
    tensor = local(tensor)
    return tensor if tensor.dim() else tensor.unsqueeze(0)


def rates_of(group: Mapping[str, Any]) -> Rates:
    """Return the numbers of a parameter group; a tensor is read where that costs no waiting."""
    lr = group["lr"]
    if isinstance(lr, Tensor):
        free = lr.device.type == "cpu" and not group["capturable"]
        lr = float(lr) if free else lr.reshape(())
    beta1, beta2 = group["betas"]
    return Rates(
        lr,
        beta1,
        beta2,
        group["eps"],
        group["weight_decay"],
        group["alignment"],
        group["solid_gain"],
    )
