"""A small regression, the forms of the step that train it, and whether two are equal."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

FORMS: list[dict[str, Any]] = [
    {"foreach": False},
    {"foreach": True},
    {"foreach": True, "capturable": True},
    {"fused": True},
]


def new_model(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1)).to(dtype)


def closure_of(model: nn.Module, optimizer: Any) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(1)
    dtype = next(model.parameters()).dtype
    inputs = torch.randn(32, 8, generator=generator).to(dtype)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = ((model(inputs) - inputs.sum(dim=1, keepdim=True)) ** 2).mean()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return loss

    return closure


def train(model: nn.Module, optimizer: Any, steps: int) -> None:
    closure = closure_of(model, optimizer)
    for _ in range(steps):
        optimizer.step(closure)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
