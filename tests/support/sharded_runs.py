"""The same training with whole and with sharded parameters or states, on every rank."""

import copy
import io
from typing import Any

import torch
import torch.distributed as dist
from exchanges import said_by
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from thermolion import ThermoLion
from thermolion.ddp.attach import attach
from thermolion.ddp.replica_check import verify_replicas

STEPS = 12
# By name: options of ThermoLion.
SHARDED: dict[str, dict[str, Any]] = {"noise": {}, "quiet": {"noise": False}}
ZERO: dict[str, dict[str, Any]] = {
    "averaged": {},
    "replicas": {"gate": "replicas", "reference_batch": 4},
    "replicas, all fed": {"gate": "replicas", "replicas_feed": "all"},
}


def network() -> nn.Sequential:
    """Rows that do not divide by the ranks, one row alone, and more than one row of noise."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(70, 65), nn.Tanh(), nn.Linear(65, 1))


def fsdp(rank: int) -> dict[str, dict[str, float]]:
    """Train under FSDP2, and the whole model with the mean of all ranks' gradients."""
    return {name: _fsdp(rank, options) for name, options in SHARDED.items()}


def _fsdp(rank: int, options: dict[str, Any]) -> dict[str, float]:
    whole = network()
    model = copy.deepcopy(whole)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=mesh)
    one = ThermoLion(whole.parameters(), lr=1e-2, **options)
    other = ThermoLion(model.parameters(), lr=1e-2, **options)
    for step in range(STEPS):
        images = torch.randn(dist.get_world_size(), 8, 70)
        one.zero_grad()
        other.zero_grad()
        model(images[rank]).square().mean().backward()
        for part in images:
            (whole(part).square().mean() / len(images)).backward()
        one.step()
        if step == STEPS // 2:  # goes on from its own state dict
            state = other.state_dict()
            other = ThermoLion(model.parameters(), lr=1e-2, **options)
            other.load_state_dict(state)
        other.step()
    weights, moments = [], []
    for mine, theirs in zip(whole.parameters(), model.parameters(), strict=True):
        weights.append(_difference(mine.detach(), theirs.detach()))
        for name in ("exp_avg", "exp_avg_sq"):
            moments.append(_difference(one.state[mine][name], other.state[theirs][name]))
    return {"weights": max(weights), "moments": max(moments)}


def zero(rank: int) -> dict[str, bool]:
    """Say whether ZeroRedundancyOptimizer gives the bits of ThermoLion alone, resumed, too."""
    return {name: _zero(rank, options) for name, options in ZERO.items()}


def _zero(rank: int, options: dict[str, Any]) -> bool:
    models = [DistributedDataParallel(network()) for _ in range(2)]
    whole = ThermoLion(models[0].parameters(), lr=1e-2, **options)
    parts = _zero_optimizer(models[1], options)
    global_batch = 8 * dist.get_world_size()
    attach(whole, models[0], global_batch=global_batch)
    attach(parts, models[1], global_batch=global_batch)
    assert len(parts.optim.state) < 4
    for step in range(STEPS):
        images = torch.randn(dist.get_world_size(), 8, 70)
        for model, optimizer in zip(models, (whole, parts), strict=True):
            optimizer.zero_grad()
            model(images[rank]).square().mean().backward()
            optimizer.step()
        if step == STEPS // 2:
            state = _shared_state(rank, parts)
            again = DistributedDataParallel(copy.deepcopy(models[1].module))
            models[1], parts = again, _zero_optimizer(again, options)
            attach(parts, again, global_batch=global_batch)
            parts.load_state_dict(state)
    pairs = zip(models[0].parameters(), models[1].parameters(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def _shared_state(rank: int, optimizer: Any) -> dict[str, Any]:
    """Return the whole state, as rank 0 has gathered and saved it, on every rank."""
    optimizer.consolidate_state_dict(to=0)
    file = io.BytesIO()
    if rank == 0:
        torch.save(optimizer.state_dict(), file)
    saved = [file.getvalue()]
    dist.broadcast_object_list(saved, src=0)
    state: dict[str, Any] = torch.load(io.BytesIO(saved[0]), weights_only=True)
    return state


def refusals(_rank: int) -> dict[str, str]:
    """Return the message of the error that a sharding and a gate that do not fit raise."""
    said = {}
    images = torch.randn(8, 70)
    ddp = DistributedDataParallel(network())
    unattached = _zero_optimizer(ddp, {})
    ddp(images).square().mean().backward()
    said["ZeRO, not attached"] = said_by(unattached.step)
    local = _zero_optimizer(ddp, {"gate": "local"})
    said["ZeRO, local"] = said_by(lambda: attach(local, ddp))
    model = network()
    fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    gated = ThermoLion(model.parameters(), gate="replicas")
    said["FSDP2, replicas"] = said_by(lambda: attach(gated, model))
    said["FSDP2, replicas, unattached"] = _step(gated, model, images)
    averaged = ThermoLion(model.parameters())
    said["FSDP2, verified"] = said_by(lambda: attach(averaged, model, verify_every=5))
    said["FSDP2, compared"] = said_by(lambda: verify_replicas(model))
    columns = _by_columns()
    said["columns"] = said_by(lambda: ThermoLion([columns]))
    quiet = ThermoLion([columns], noise=False)
    columns.grad = torch.ones_like(columns)
    said["columns, quiet"] = said_by(quiet.step)
    said["fused"] = said_by(lambda: ThermoLion(model.parameters(), fused=True))
    return said


def _step(optimizer: ThermoLion, model: nn.Module, images: Tensor) -> str:
    model(images).square().mean().backward()
    return said_by(optimizer.step)


def _by_columns() -> nn.Parameter:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return nn.Parameter(distribute_tensor(torch.ones(4, 6), mesh, [Shard(1)]))


def _zero_optimizer(model: nn.Module, options: dict[str, Any]) -> Any:
    # Loading it warns, and pytest makes an error of that: not while tests are collected.
    from torch.distributed.optim import ZeroRedundancyOptimizer

    return ZeroRedundancyOptimizer(
        model.parameters(), optimizer_class=ThermoLion, lr=1e-2, **options
    )


def _difference(one: Tensor, other: Tensor) -> float:
    """Return the largest difference, relative to the largest value; `other` is sharded."""
    assert isinstance(other, DTensor)
    return float((one - other.full_tensor()).abs().max() / one.abs().max())
