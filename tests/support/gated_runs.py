"""ThermoLion under DDP beside the formulas of its gates, which know the gradient of every rank."""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from normal_draws import standard_normal
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from thermolion import ThermoLion
from thermolion.ddp.attach import attach

STEPS, LOCAL_BATCH, LR = 12, 4, 1e-2


@dataclass
class Formula:
    """The method in float64 with all ranks' gradients at hand, one tensor; `k` weighs S - G²."""

    theta: Tensor
    param_id: int
    gate: str
    k: float = 1.0
    feed: str = "gate"
    step: int = 0
    moments: dict[str, list[Tensor]] = field(default_factory=dict)

    def take(self, rank_gradients: list[Tensor]) -> None:
        """Take a step with the mean over ranks of what each gate makes of its gradients."""
        self.step += 1
        mean = torch.stack(rank_gradients).mean(0)
        squares = torch.stack(rank_gradients).square().mean(0)
        at_reference = mean**2 + self.k * (squares - mean**2)
        if self.gate == "local":
            updates = [self._update(r, g, g**2, g**2) for r, g in enumerate(rank_gradients)]
        elif self.gate == "replicas":
            v_input = at_reference if self.feed == "all" else mean**2
            updates = [self._update(0, mean, v_input, at_reference)]
        else:
            updates = [self._update(0, mean, mean**2, mean**2)]
        self.theta = self.theta * (1 - LR * 0.01) - LR * torch.stack(updates).mean(0)

    def _update(self, rank: int, g: Tensor, v_input: Tensor, gate_input: Tensor) -> Tensor:
        zeros = torch.zeros_like(g)
        m = 0.9 * self._of("m", rank, zeros) + 0.1 * g
        v = 0.99 * self._of("v", rank, zeros) + 0.01 * v_input
        q = 0.99 * self._of("q", rank, zeros) + 0.01 * gate_input
        self.moments["m"][rank], self.moments["v"][rank], self.moments["q"][rank] = m, v, q
        gate = (m.abs() / (q.clamp(min=0).sqrt() + 1e-8)).tanh()
        gas = m.sign() * (1 + 0.5 * (m.sign() * g.sign()).clamp(0, 1))
        draws = standard_normal(
            g.numel(), seed=0, step=self.step, param_id=self.param_id, dtype=torch.float64
        ).view_as(g)
        gas = gas + draws * (0.99**self.step * v.mean() + 1e-10).sqrt()
        return (1 - gate) * gas + gate * 2 * m / (v.sqrt() + 1e-8)

    def _of(self, name: str, rank: int, zeros: Tensor) -> Tensor:
        kept = self.moments.setdefault(name, [])
        while len(kept) <= rank:
            kept.append(zeros)
        return kept[rank]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(9, 6), nn.Tanh(), nn.Linear(6, 2)).double()


def compared(rank: int, gate: str, k: float, options: dict[str, Any]) -> float:
    """Return the largest difference of a weight from the formula's, after STEPS steps."""
    twin = network()
    formulas = [
        Formula(param.detach().clone(), number, gate, k, options.get("replicas_feed", "gate"))
        for number, param in enumerate(twin.parameters())
    ]
    model = DistributedDataParallel(network())
    optimizer = ThermoLion(model.parameters(), lr=LR, gate=gate, **options)  # type: ignore[arg-type]  # a word of the gate's
    attach(optimizer, model, global_batch=LOCAL_BATCH * dist.get_world_size())
    for _ in range(STEPS):
        images = torch.randn(dist.get_world_size(), LOCAL_BATCH, 9, dtype=torch.float64)
        optimizer.zero_grad()
        model(images[rank]).square().mean().backward()
        optimizer.step()
        of_ranks = [_gradients(twin, formulas, part) for part in images]
        for formula, gradients in zip(formulas, zip(*of_ranks, strict=True), strict=True):
            formula.take(list(gradients))
    pairs = zip(model.parameters(), formulas, strict=True)
    return max(float((param - formula.theta).detach().abs().max()) for param, formula in pairs)


def all_compared(
    rank: int, cases: dict[str, tuple[str, float, dict[str, Any]]]
) -> dict[str, float]:
    """Do `compared` for each case; the processes start once."""
    return {name: compared(rank, *case) for name, case in cases.items()}


def _gradients(model: nn.Module, formulas: list[Formula], images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        for param, formula in zip(model.parameters(), formulas, strict=True):
            param.copy_(formula.theta)
    return list(torch.autograd.grad(model(images).square().mean(), list(model.parameters())))
