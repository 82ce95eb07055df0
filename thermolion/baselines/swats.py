"""SWATS, Adam that switches to SGD: by the paper's criterion, or after a fixed number of steps."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from thermolion.baselines.stepping import (
    ADAM_OPTIONS,
    BaselineOptimizer,
    compute_l2_gradient,
    read_rate,
    take_adam_step,
    update_moments,
)


class SWATS(BaselineOptimizer):
    """Take steps of Adam, and switch to SGD once, for all parameters, when its rate has settled.

    With Adam's update p and the gradient g, over all parameters together, r = p·p / -p·g is the
    learning rate of the SGD step whose projection on p is p. λ = β2 λ + (1-β2) r is its running
    mean, divided by 1 - β2^n after n of them. Once n > 1, λ > 0 and |λ - r| < `threshold`, the
    steps are v = β1 v + g, θ = θ - (1-β1) λ v. Source: arXiv 1712.07628, algorithm 1.

    What the paper leaves open: a schedule still acts after the switch, λ being multiplied by lr
    over the lr at the switch (the largest of the groups); a step without a finite r does not
    count. β2 and `threshold` are those of the first group, which also holds n and λ. Not for
    sharded parameters: each rank would judge by its own part. Reads two numbers from the device
    at every step of Adam. Raises TypeError or ValueError for an illegal hyperparameter.
    """

    options = (*ADAM_OPTIONS, "threshold")

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-9,
        weight_decay: float = 0.0,
        threshold: float = 1e-9,
    ) -> None:
        criterion = {
            "threshold": threshold,
            "estimates": 0,  # n, how many r there have been
            "mean_estimate": 0.0,  # λ, not divided by 1 - β2^n
            "sgd_scale": None,  # λ / lr at the switch; None before it
        }
        adam = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, **adam, **criterion)

    @property
    def switched(self) -> bool:
        """Return True if SGD takes the next step."""
        return self.param_groups[0]["sgd_scale"] is not None

    def _update(self) -> None:
        if self.switched:
            scale = self.param_groups[0]["sgd_scale"]
            for param, group in self._moving():
                self._take_sgd_step(param, group, scale)
            return
        products = [self._take_adam_step(param, group) for param, group in self._moving()]
        if products:
            first = products[0].device
            squared, along = torch.stack([part.to(first) for part in products]).sum(0).tolist()
            self._estimate(squared, along)

    def _take_adam_step(self, param: Tensor, group: dict[str, Any]) -> Tensor:
        """Move a parameter; return p·p and p·g of it (2,), float64, on its device."""
        state = self.state[param]
        grad, exp_avg, exp_avg_sq = update_moments(state, param, group)
        if not isinstance(state.get("step"), Tensor):  # a number in what older versions saved
            state["step"] = torch.tensor(float(state.get("step", 0)))
        state["step"] += 1
        count = int(state["step"])  # on the host
        beta1, beta2 = group["betas"]
        corrected = math.sqrt(1 - beta2**count) / (1 - beta1**count)
        update = exp_avg / exp_avg_sq.sqrt().add_(group["eps"])
        update.mul_(-read_rate(group) * corrected)
        param.add_(update)
        squared = (update * update).sum(dtype=torch.float64)
        return torch.stack([squared, (update * grad).sum(dtype=torch.float64)])

    def _estimate(self, squared: float, along: float) -> None:
        """Update λ by one more r, and switch if the two agree."""
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
            # λ is finite and above 0 only if some learning rate is.
            lead["sgd_scale"] = mean / max(float(group["lr"]) for group in self.param_groups)
            self.state.clear()

    def _take_sgd_step(self, param: Tensor, group: dict[str, Any], scale: float) -> None:
        state = self.state[param]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(param)
        beta1 = group["betas"][0]
        grad = compute_l2_gradient(param, group["weight_decay"])
        state["momentum_buffer"].mul_(beta1).add_(grad)
        param.add_(state["momentum_buffer"], alpha=-(1 - beta1) * scale * read_rate(group))


class SWATSNotebook(BaselineOptimizer):
    """Take `switch_after` steps of Adam, then steps of plain SGD at the same learning rate.

    The simplified form in the benchmark notebook of arXiv 2512.01881: neither the moment of the
    switch nor the learning rate after it is estimated, as `SWATS` does. The steps are those of
    the optimizer, for all groups. Raises TypeError or ValueError for an illegal hyperparameter.
    """

    options = (*ADAM_OPTIONS, "switch_after")

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        switch_after: int = 300,
    ) -> None:
        adam = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, **adam, switch_after=switch_after, steps=0)

    def _update(self) -> None:
        # A group that came later switches with the others.
        lead = self.param_groups[0]
        if lead["steps"] < lead["switch_after"]:
            for group in self.param_groups:
                take_adam_step(group, self.state)
        else:
            for param, group in self._moving():
                self.state.pop(param, None)  # Adam's moments, which are not needed any more
                grad = compute_l2_gradient(param, group["weight_decay"])
                param.add_(grad, alpha=-read_rate(group))
        lead["steps"] += 1
