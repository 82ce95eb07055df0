"""An optimizer's `step`: the closure and the gradient mode around an update. Has no update."""

from collections.abc import Callable
from typing import overload

import torch
from torch.optim.optimizer import Optimizer


class ClosureOptimizer(Optimizer):
    """An optimizer whose subclass defines `_update` alone."""

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
