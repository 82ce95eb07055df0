"""SWATS, Adam that switches to SGD: by the paper's criterion, or after a fixed number of steps."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from thermolion import option_checks
from thermolion.baselines.stepping import (
    BaselineOptimizer,
    check_adam,
    compute_l2_gradient,
    init_moments,
    params_with_gradient,
    take_adam_step,
)


class SWATS(BaselineOptimizer):
    """Adam that switches to SGD by itself, once, for all parameters (arXiv 1712.07628, alg. 1).

    With Adam's update p and the gradient g, over all parameters together, r = p·p / -p·g is the
    step of SGD whose projection on p is p; λ = β2 λ + (1-β2) r its running mean, corrected for
    its start. When |λ - r| < `threshold`, the next steps are v = β1 v + g, θ = θ - (1-β1) λ v.

    What the paper leaves open: a schedule goes on to act after the switch (λ is scaled by
    lr / lr at the switch, the largest of the groups); a step that gives no r does not count
    in λ's correction; a λ below 0 never switches. β2 and the threshold of the criterion are those
    of the first group, which keeps its memory. Not for sharded parameters: each rank would judge
    by its own. Reads two numbers from the device at every step of Adam's. Raises TypeError or
    ValueError for a hyperparameter that is none.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-9,
        weight_decay: float = 0.0,
        threshold: float = 1e-9,
    ) -> None:
        own = {
            "threshold": threshold,
            "estimates": 0,  # how many r there have been
            "mean_estimate": 0.0,  # λ, not corrected
            "sgd_scale": None,  # λ / lr at the switch; None before it
        }
        adam = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, adam | own)

    @staticmethod
    def _check(options: Mapping[str, Any]) -> None:
        check_adam(options)
        option_checks.check_at_least_zero("threshold", options["threshold"])

    @property
    def switched(self) -> bool:
        """Return True if SGD takes the next step."""
        return self.param_groups[0]["sgd_scale"] is not None

    def _update(self) -> None:
        if self.switched:
            scale = self.param_groups[0]["sgd_scale"]
            for group in self.param_groups:
                for param in params_with_gradient(group):
                    self._take_sgd_step(param, group, scale)
            return
        products = [
            self._take_adam_step(param, group)
            for group in self.param_groups
            for param in params_with_gradient(group)
        ]
        if products:
            first = products[0].device
            squared, along = torch.stack([part.to(first) for part in products]).sum(0).tolist()
            self._estimate(squared, along)

    def _take_adam_step(self, param: Tensor, group: dict[str, Any]) -> Tensor:
        """Move a parameter; return p·p and p·g, float64, where it lies."""
        grad = compute_l2_gradient(param, group["weight_decay"])
        state = init_moments(self.state[param], param)
        state["step"] = state.get("step", 0) + 1
        beta1, beta2 = group["betas"]
        state["exp_avg"].mul_(beta1).add_(grad, alpha=1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        corrected = math.sqrt(1 - beta2 ** state["step"]) / (1 - beta1 ** state["step"])
        update = state["exp_avg"] / state["exp_avg_sq"].sqrt().add_(group["eps"])
        update.mul_(-group["lr"] * corrected)
        param.add_(update)
        squared = (update * update).sum(dtype=torch.float64)
        return torch.stack([squared, (update * grad).sum(dtype=torch.float64)])

    def _estimate(self, squared: float, along: float) -> None:
        """Update λ by one more r, and switch if they agree."""
        lead = self.param_groups[0]
        estimate = squared / -along if along else math.inf
        if not math.isfinite(estimate):
            return
        beta2 = lead["betas"][1]
        lead["estimates"] += 1
        lead["mean_estimate"] = beta2 * lead["mean_estimate"] + (1 - beta2) * estimate
        mean = lead["mean_estimate"] / (1 - beta2 ** lead["estimates"])
        settled = lead["estimates"] > 1 and abs(mean - estimate) < lead["threshold"]
        if settled and mean > 0:
            # λ is finite and above 0 only where some learning rate is.
            lead["sgd_scale"] = mean / max(float(group["lr"]) for group in self.param_groups)
            self.state.clear()

    def _take_sgd_step(self, param: Tensor, group: dict[str, Any], scale: float) -> None:
        state = self.state[param]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(param)
        beta1 = group["betas"][0]
        grad = compute_l2_gradient(param, group["weight_decay"])
        state["momentum_buffer"].mul_(beta1).add_(grad)
        param.add_(state["momentum_buffer"], alpha=-(1 - beta1) * scale * group["lr"])


class SWATSNotebook(BaselineOptimizer):
    """Adam for `switch_after` steps, then plain SGD at the same learning rate.

    The simplified form: neither the moment of the switch nor the learning rate after it is
    estimated; `thermolion.baselines.swats` does both. The steps are those of the optimizer, of all
    groups. Raises TypeError or ValueError for a hyperparameter that is none.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        switch_after: int = 300,
    ) -> None:
        own = {"switch_after": switch_after, "steps": 0}
        adam = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, adam | own)

    @staticmethod
    def _check(options: Mapping[str, Any]) -> None:
        check_adam(options)
        option_checks.check_whole_number("switch_after", options["switch_after"], least=1)

    def _update(self) -> None:
        # A group that came later switches with the others.
        lead = self.param_groups[0]
        for group in self.param_groups:
            if lead["steps"] < lead["switch_after"]:
                take_adam_step(group, self.state)
                continue
            for param in params_with_gradient(group):
                self.state.pop(param, None)  # Adam's moments, which nobody needs any more
                grad = compute_l2_gradient(param, group["weight_decay"])
                param.add_(grad, alpha=-group["lr"])
        lead["steps"] += 1
