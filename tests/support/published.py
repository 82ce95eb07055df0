"""The method as its author published it, from the equations: a loop, draws from torch's generator.

What it does that ours does not on purpose is kept: noise of each process's own, and mean(v) read
by the host.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class Published(Optimizer):
    """State `step`, `m`, `v` and `temp` of each parameter, as in the published class."""

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        options = {"betas": (0.9, 0.99), "temp_decay": 0.99, "weight_decay": 0.01, "eps": 1e-8}
        super().__init__(params, {"lr": lr, **options})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no loss is asked for
        assert closure is None
        for group in self.param_groups:
            for param in group["params"]:
                state = self.state[param]
                if not state:
                    zeros = torch.zeros_like
                    state.update(step=0, m=zeros(param), v=zeros(param), temp=1.0)
                self._move(param, state, group)

    def _move(self, param: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        grad, m, v = param.grad, state["m"], state["v"]
        beta1, beta2 = group["betas"]
        state["step"] += 1
        state["temp"] *= group["temp_decay"]
        m.mul_(beta1).add_(grad, alpha=1 - beta1)
        v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        root = v.sqrt() + group["eps"]
        gate = torch.tanh(m.abs() / root)
        gas = m.sign() * (1 + 0.5 * (m.sign() * grad.sign()).clamp(0, 1))
        update = (1 - gate) * gas + gate * (m / root) * 2
        if state["temp"] > 0.01:
            scale = math.sqrt(max(state["temp"] * float(v.mean()), 0.0) + 1e-10)
            update = update + torch.randn_like(param) * (scale * (1 - gate))
        param.mul_(1 - group["lr"] * group["weight_decay"])
        param.sub_(update * group["lr"])
