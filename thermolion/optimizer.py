"""ThermoLion as a torch optimizer: validation, state and param groups around `update`.

Plain single-device form: not yet fused, and under data parallelism it gates on the averaged
gradient.
"""

import math
from collections.abc import Callable
from typing import Any, overload

import torch
from torch.optim.optimizer import Optimizer, ParamsT

from thermolion import update
from thermolion.noise import standard_normal


class ThermoLion(Optimizer):
    """Gate every parameter between a sign and a magnitude update by its signal-to-noise ratio.

    Source: arXiv 2512.01881. `lr`, `weight_decay` (decoupled) and `eps` are non-negative;
    `temp_decay` in (0, 1] cools the exploration noise, `noise=False` leaves it out; `alignment`
    boosts the sign step where momentum and gradient agree; `solid_gain` scales the magnitude
    step. Draws of the noise depend on `seed`, the step and the parameter's place in the
    constructor's list alone, so replicas and resumed runs see the same ones.

    Raises ValueError for a hyperparameter out of range; `step` raises RuntimeError for a complex
    or sparse gradient.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        temp_decay: float = 0.99,
        weight_decay: float = 0.01,
        eps: float = 1e-8,
        alignment: float = update.ALIGNMENT_BOOST,
        solid_gain: float = update.SOLID_GAIN,
        noise: bool = True,
        seed: int = 0,
    ) -> None:
        _check("lr", lr, 0 <= lr < math.inf, "0 or more, finite")
        fractions = len(betas) == 2 and all(0 <= beta < 1 for beta in betas)
        _check("betas", betas, fractions, "two numbers in [0, 1)")
        _check("temp_decay", temp_decay, 0 < temp_decay <= 1, "in (0, 1]")
        _check("weight_decay", weight_decay, 0 <= weight_decay < math.inf, "0 or more, finite")
        _check("eps", eps, 0 <= eps < math.inf, "0 or more, finite")
        _check("alignment", alignment, 0 <= alignment < math.inf, "0 or more, finite")
        _check("solid_gain", solid_gain, 0 <= solid_gain < math.inf, "0 or more, finite")
        defaults = {
            "lr": lr,
            "betas": betas,
            "temp_decay": temp_decay,
            "weight_decay": weight_decay,
            "eps": eps,
            "alignment": alignment,
            "solid_gain": solid_gain,
            "noise": noise,
            "seed": seed,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its parameters take the next ids of the noise."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        taken = sum(len(other["params"]) for other in self.param_groups[:-1])
        group["param_ids"] = list(range(taken, taken + len(group["params"])))

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step with the gradients at hand; parameters without one stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param, param_id in zip(group["params"], group["param_ids"], strict=True):
                if param.grad is not None:
                    self._update(param, param_id, group)
        return loss

    def _update(self, param: torch.Tensor, param_id: int, group: dict[str, Any]) -> None:
        grad = param.grad
        assert grad is not None
        if grad.is_sparse or torch.is_complex(param):
            raise RuntimeError(
                f"ThermoLion takes dense real gradients, got {grad.layout}, {grad.dtype}: "
                "use another optimizer for this parameter"
            )
        state = self.state[param]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(param, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        state["step"] += 1
        step = int(state["step"])
        temperature = update.temperature(group["temp_decay"], step)
        noise = None
        if group["noise"] and update.explores(temperature):
            noise = standard_normal(param, group["seed"], step, param_id)
        beta1, beta2 = group["betas"]
        update.update_(
            param,
            grad,
            state["exp_avg"],
            state["exp_avg_sq"],
            lr=float(group["lr"]),
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            alignment=group["alignment"],
            solid_gain=group["solid_gain"],
            temperature=temperature,
            noise=noise,
        )


def _check(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:  # also where a comparison with NaN was false
        raise ValueError(f"{name} is {value!r}, it must be {allowed}")
