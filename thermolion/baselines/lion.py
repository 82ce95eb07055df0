"""Lion: the sign of an interpolated momentum."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from thermolion import option_checks
from thermolion.baselines.stepping import BaselineOptimizer


class Lion(BaselineOptimizer):
    """Sign of an interpolated momentum with decoupled weight decay (arXiv 2302.06675, program 2).

    Raises TypeError or ValueError for a hyperparameter that is none.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @staticmethod
    def _check(options: Mapping[str, Any]) -> None:
        option_checks.check_rate("lr", options["lr"])
        option_checks.check_betas("betas", options["betas"])
        option_checks.check_at_least_zero("weight_decay", options["weight_decay"])

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
