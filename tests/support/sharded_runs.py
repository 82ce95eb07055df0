"""The same training with whole and with sharded parameters or states, on every rank."""

import copy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from thermolion import ThermoLion

STEPS = 12


def network() -> nn.Sequential:
    """Rows that do not divide by the number of ranks, and a layer of more than one noise row."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(70, 65), nn.Tanh(), nn.Linear(65, 3))


def fsdp(rank: int, **options: Any) -> dict[str, Any]:
    """Train under FSDP2, and the whole model with the mean of all ranks' gradients."""
    whole = network()
    model = copy.deepcopy(whole)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=mesh)
    optimizers = [ThermoLion(each.parameters(), lr=1e-2, **options) for each in (whole, model)]
    for _ in range(STEPS):
        images = torch.randn(dist.get_world_size(), 8, 70)
        for optimizer in optimizers:
            optimizer.zero_grad()
        model(images[rank]).square().mean().backward()
        for part in images:
            (whole(part).square().mean() / len(images)).backward()
        for optimizer in optimizers:
            optimizer.step()
    return _compared(whole, model, optimizers)


def _compared(whole: nn.Module, model: nn.Module, optimizers: list[Any]) -> dict[str, Any]:
    pairs = list(zip(whole.parameters(), model.parameters(), strict=True))
    moments = []
    for one, other in pairs:
        states = optimizers[0].state[one], optimizers[1].state[other]
        moments += [(states[0][name], states[1][name]) for name in ("exp_avg", "exp_avg_sq")]
    return {
        "weights": max(_difference(*pair) for pair in pairs),
        "moments": max(_difference(*pair) for pair in moments),
        "sharded": all(isinstance(other, DTensor) for _, other in (*pairs, *moments)),
    }


def _difference(one: Tensor, other: Tensor) -> float:
    full: Tensor = other.full_tensor() if isinstance(other, DTensor) else other
    return float((one - full).abs().max() / one.abs().max())
