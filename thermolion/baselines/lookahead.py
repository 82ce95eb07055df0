"""Lookahead over Adam: slow weights that follow it every few steps. Wraps no other optimizer."""

from collections.abc import Mapping
from typing import Any

from torch.optim.optimizer import ParamsT

from thermolion import option_checks
from thermolion.baselines.stepping import (
    BaselineOptimizer,
    check_adam,
    params_with_gradient,
    take_adam_step,
)


class Lookahead(BaselineOptimizer):
    """k steps of Adam forward, then back to a point on the way (arXiv 1907.08610, algorithm 1).

    After every `slow_every` (k) steps of a group: φ = φ + `slow_step` (its alpha) · (θ - φ),
    then θ = φ. The slow weights φ begin as the weights are before a parameter's first step, and
    lie in its state as `slow`; Adam's moments stay as they are. Between two of these moments the
    model holds the fast weights θ. Raises TypeError or ValueError for a hyperparameter that is
    none.
    """

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
        own = {"slow_every": slow_every, "slow_step": slow_step, "steps": 0}
        super().__init__(params, adam | own)

    @staticmethod
    def _check(options: Mapping[str, Any]) -> None:
        check_adam(options)
        option_checks.check_whole_number("slow_every", options["slow_every"], least=1)
        option_checks.check_fraction("slow_step", options["slow_step"], ends="(]")

    def _update(self) -> None:
        for group in self.param_groups:
            for param in params_with_gradient(group):
                if "slow" not in self.state[param]:
                    self.state[param]["slow"] = param.detach().clone()
            take_adam_step(group, self.state)
            group["steps"] += 1
            if group["steps"] % group["slow_every"] == 0:
                for param in group["params"]:
                    slow = self.state[param].get("slow") if param in self.state else None
                    if slow is not None:
                        param.copy_(slow.lerp_(param, group["slow_step"]))
