"""A user's own model and optimizer, as sweeps name them by dotted path."""

from typing import Any

import torch
from torch import Tensor, nn


class Loud(nn.Module):
    """A linear model whose gradients exceed what 16 bits hold, once they are scaled."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(channels * size**2, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1)) * 1e3


class Lookahead(torch.optim.Optimizer):
    """AdamW, which every `k` steps goes back half the way to where it came from."""

    def __init__(self, params: Any, lr: float, k: int = 3, weight_decay: float = 0.01) -> None:
        self.inner = torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay)
        super().__init__(self.inner.param_groups, {})
        self.slow = [param.detach().clone() for param in self._params()]
        self.k, self.count = k, 0

    def _params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure
        self.inner.step()
        self.count += 1
        if self.count % self.k == 0:
            for slow, param in zip(self.slow, self._params(), strict=True):
                slow.lerp_(param, 0.5)
                param.copy_(slow)

    def state_dict(self) -> dict[str, Any]:
        return {"inner": self.inner.state_dict(), "slow": self.slow, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.inner.load_state_dict(state["inner"])
        self.param_groups = self.inner.param_groups
        self.slow, self.count = list(state["slow"]), state["count"]
