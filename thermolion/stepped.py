"""An optimizer's `step` around its update: closure and gradient mode. No update of its own."""

import math
from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer


class Stepped(Optimizer):
    """What the baselines of this package have in common.

    They keep all of their memory in `state` and `param_groups`, as tensors, numbers and None:
    so it is in `state_dict()`, in a copy and in a pickle, whole.
    """

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
        self._update()
        return loss

    def _update(self) -> None:
        """Change the parameters by their gradients."""
        raise NotImplementedError


def checked_options(
    lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> dict[str, Any]:
    """Return the options of Adam by name; raises ValueError for one out of range."""
    for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value!r}, it must be 0 or more, finite")
    if not (len(betas) == 2 and all(0 <= beta < 1 for beta in betas)):
        raise ValueError(f"betas is {betas!r}, it must be two numbers in [0, 1)")
    return {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}


def checked_count(name: str, value: int) -> int:
    """Return a number of steps; raises ValueError for what is no whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is {value!r}, it must be a whole number, 1 or more")
    return value


def moved(group: dict[str, Any]) -> list[Tensor]:
    """Return the parameters of a group that have a gradient."""
    return [param for param in group["params"] if param.grad is not None]


def decayed_gradient(param: Tensor, weight_decay: float) -> Tensor:
    """Return the gradient of the loss with its L2 penalty, weight_decay / 2 · |θ|²."""
    assert param.grad is not None
    return param.grad.add(param, alpha=weight_decay) if weight_decay else param.grad
