"""Lookahead over Adam: slow weights that follow it every few steps. Wraps no other optimizer."""

from torch.optim.optimizer import ParamsT

from thermolion.baselines.stepping import (
    ADAM_OPTIONS,
    BaselineOptimizer,
    params_with_gradient,
    take_adam_step,
)


class Lookahead(BaselineOptimizer):
    """Take k steps of Adam, then go part of the way from the point before them to that after.

    After every `slow_every` (k) steps of a group: φ = φ + `slow_step` · (θ - φ), then θ = φ. The
    slow weights φ begin as the weights before a parameter's first step, and are kept in its state
    as `slow`; Adam's moments stay as they are. In between, the model holds the fast weights θ.
    Source: arXiv 1907.08610, algorithm 1. Raises TypeError or ValueError for an illegal
    hyperparameter.
    """

    options = (*ADAM_OPTIONS, "slow_every", "slow_step")

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        slow_every: int = 5,
        slow_step: float = 0.5,
    ) -> None:
        adam = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        # `steps` are those that a group has taken.
        super().__init__(params, **adam, slow_every=slow_every, slow_step=slow_step, steps=0)

    def _update(self) -> None:
        for group in self.param_groups:
            for param in params_with_gradient(group):
                if "slow" not in self.state[param]:
                    self.state[param]["slow"] = param.detach().clone()
            take_adam_step(group, self.state)
            group["steps"] += 1
            if group["steps"] % group["slow_every"] == 0:
                for param in group["params"]:
                    slow = self.state.get(param, {}).get("slow")
                    if slow is not None:
                        param.copy_(slow.lerp_(param, group["slow_step"]))
