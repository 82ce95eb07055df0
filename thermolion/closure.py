"""An optimizer's `step`: the closure, the gradient mode and the checks around an update.

Has no update.
"""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch._compile import _disable_dynamo  # as torch's own optimizers: it imports when called
from torch.optim.optimizer import Optimizer

TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


class ClosureOptimizer(Optimizer):
    """An optimizer whose subclass defines `_update` alone.

    `step` raises RuntimeError for a gradient that is sparse, complex, of whole numbers or of
    another shape than its parameter, before anything has changed. Under `torch.compile`, an
    update runs as it does without.
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
        self._take_update()
        return loss

    @_disable_dynamo  # views that are kept, and arithmetic on the host: no graph
    def _take_update(self) -> None:
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    check_gradient(type(self).__name__, param)
        self._update()

    def _update(self) -> None:
        """Change the parameters by their gradients."""
        raise NotImplementedError

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # torch gives this option to whatever has been copied or loaded. It is none of ours, and
        # the state dict of a loaded optimizer must have the keys of the one that was saved.
        for options in (self.defaults, *self.param_groups):
            options.pop("differentiable", None)


def check_gradient(optimizer: str, param: Tensor) -> None:
    """Raise RuntimeError for a gradient that the optimizer of this name cannot step with."""
    grad = param.grad
    assert grad is not None
    if grad.layout != torch.strided or param.dtype not in TYPES:
        raise RuntimeError(
            f"{optimizer} takes dense floating-point gradients, got {grad.layout}, {grad.dtype}: "
            "use another optimizer for this parameter"
        )
    if grad.shape != param.shape:
        raise RuntimeError(
            f"a parameter has the shape {tuple(param.shape)} and its gradient "
            f"{tuple(grad.shape)}: it was given other data after the backward pass"
        )
