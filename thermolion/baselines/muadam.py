"""MuAdam: Adam without bias correction, with the gradient weighed once more into its numerator."""

from collections.abc import Mapping
from typing import Any

from torch.optim.optimizer import ParamsT

from thermolion.baselines.stepping import (
    BaselineOptimizer,
    check_adam,
    compute_l2_gradient,
    init_moments,
    params_with_gradient,
)


class MuAdam(BaselineOptimizer):
    """Adam of uncorrected moments that looks ahead by a gradient (arXiv 2512.01881's baseline).

    m = β1 m + (1-β1) g; v = β2 v + (1-β2) g²; θ = θ - lr (β1 m + (1-β1) g) / (√v + ε).
    The weight decay is Adam's (L2). Raises TypeError or ValueError for a hyperparameter that is
    none.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    @staticmethod
    def _check(options: Mapping[str, Any]) -> None:
        check_adam(options)

    def _update(self) -> None:
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for param in params_with_gradient(group):
                grad = compute_l2_gradient(param, group["weight_decay"])
                state = init_moments(self.state[param], param)
                exp_avg, exp_avg_sq = state["exp_avg"], state["exp_avg_sq"]
                exp_avg.mul_(beta1).add_(grad, alpha=1 - beta1)
                exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
                numerator = (exp_avg * beta1).add_(grad, alpha=1 - beta1)
                denominator = exp_avg_sq.sqrt().add_(group["eps"])
                param.addcdiv_(numerator, denominator, value=-group["lr"])
