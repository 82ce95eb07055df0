"""Lion: the sign of an interpolated momentum."""

import torch
from torch.optim.optimizer import ParamsT

from thermolion.baselines.stepping import BaselineOptimizer, read_rate


class Lion(BaselineOptimizer):
    """Step by the sign of an interpolated momentum, with decoupled weight decay.

    c = β1 m + (1-β1) g; θ = θ (1 - lr · weight_decay) - lr sign(c); m = β2 m + (1-β2) g. Source:
    arXiv 2302.06675, program 2. Raises TypeError or ValueError for an illegal hyperparameter.
    """

    options = ("lr", "betas", "weight_decay")

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)

    def _update(self) -> None:
        for param, group in self._moving():
            state = self.state[param]
            if not state:
                state["exp_avg"] = torch.zeros_like(param)
            exp_avg, grad = state["exp_avg"], param.grad
            beta1, beta2 = group["betas"]
            mixed = (exp_avg * beta1).add_(grad, alpha=1 - beta1)
            # torch has 0 for the sign of NaN, which would hide it.
            direction = torch.where(mixed.isnan(), mixed, mixed.sign())
            rate = read_rate(group)
            param.mul_(1 - rate * group["weight_decay"])
            param.add_(direction, alpha=-rate)
            exp_avg.mul_(beta2).add_(grad, alpha=1 - beta2)
