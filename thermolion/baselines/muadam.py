"""MuAdam: Adam without bias correction, whose numerator averages m with the gradient once more."""

from torch.optim.optimizer import ParamsT

from thermolion.baselines.stepping import (
    ADAM_OPTIONS,
    BaselineOptimizer,
    read_rate,
    update_moments,
)


class MuAdam(BaselineOptimizer):
    """Step with Adam's uncorrected moments, m averaged with the gradient g once more.

    m = β1 m + (1-β1) g; v = β2 v + (1-β2) g²; θ = θ - lr (β1 m + (1-β1) g) / (√v + ε): a
    baseline of the benchmark of arXiv 2512.01881. The weight decay is Adam's (L2). Raises
    TypeError or ValueError for an illegal hyperparameter.
    """

    options = ADAM_OPTIONS

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _update(self) -> None:
        for param, group in self._moving():
            grad, exp_avg, exp_avg_sq = update_moments(self.state[param], param, group)
            beta1 = group["betas"][0]
            numerator = (exp_avg * beta1).add_(grad, alpha=1 - beta1)
            denominator = exp_avg_sq.sqrt().add_(group["eps"])
            param.addcdiv_(numerator, denominator, value=-read_rate(group))
