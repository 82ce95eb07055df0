"""Optimizers to compare with that torch does not have. One class each, plain and exact."""

import math

import torch
from torch.optim.optimizer import ParamsT

from thermolion.stepped import Stepped


class Lion(Stepped):
    """Sign of an interpolated momentum with decoupled weight decay (arXiv 2302.06675, program 2).

    Raises ValueError for a hyperparameter out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        if not 0 <= lr < math.inf:
            raise ValueError(f"lr is {lr!r}, it must be 0 or more, finite")
        if not (len(betas) == 2 and all(0 <= beta < 1 for beta in betas)):
            raise ValueError(f"betas is {betas!r}, it must be two numbers in [0, 1)")
        if not 0 <= weight_decay < math.inf:
            raise ValueError(f"weight_decay is {weight_decay!r}, it must be 0 or more, finite")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def _update(self) -> None:
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                if not state:
                    state["exp_avg"] = torch.zeros_like(param)
                exp_avg = state["exp_avg"]
                direction = (exp_avg * beta1).add_(param.grad, alpha=1 - beta1).sign_()
                param.mul_(1 - group["lr"] * group["weight_decay"])
                param.add_(direction, alpha=-group["lr"])
                exp_avg.mul_(beta2).add_(param.grad, alpha=1 - beta2)
