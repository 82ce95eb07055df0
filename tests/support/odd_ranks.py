"""Uses of several ranks that are refused or have to be right: joins, flat shards, named states."""

import copy
import warnings
from typing import Any

import torch
import torch.distributed as dist
from exchanges import said_by
from torch import Tensor, nn
from torch.distributed.algorithms.join import Join
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from thermolion import ThermoLion
from thermolion.ddp.attach import attach


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 1))


def _images(step: int) -> Tensor:
    return torch.randn(16, 4, generator=torch.Generator().manual_seed(step))


def joined(rank: int, gates: list[str]) -> dict[str, str]:
    """Return what is said to ranks with unlike numbers of batches within `join`."""
    said = {}
    for gate in gates:
        model = DistributedDataParallel(network())
        optimizer = ThermoLion(model.parameters(), gate=gate)  # type: ignore[arg-type]  # a word
        attach(optimizer, model)

        def train(contexts: Any, model: Any = model, optimizer: Any = optimizer) -> None:
            with contexts:
                for step in range(2 + rank):
                    optimizer.zero_grad()
                    model(_images(step)).square().mean().backward()
                    optimizer.step()

        said[gate] = said_by(lambda model=model: train(model.join()))
        said[f"{gate}, by its class"] = (
            said_by(lambda model=model: train(Join([model]))) if gate != "averaged" else ""
        )
        said[f"{gate}, disabled"] = said_by(lambda model=model: model.join(enable=False))
    return said


def flat(rank: int, originals: bool) -> dict[str, Any]:
    """Train under FSDP1, without noise, and the whole model; save the state."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    whole = network()
    one = ThermoLion(whole.parameters(), lr=1e-2, noise=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this FSDP is the old one
        model = FullyShardedDataParallel(
            network(), device_id=torch.device("cpu"), use_orig_params=originals
        )
        refused = said_by(lambda: ThermoLion(model.parameters()))
        late = network()
        early = ThermoLion(late.parameters())
        wrapped = FullyShardedDataParallel(
            late, device_id=torch.device("cpu"), use_orig_params=True
        )
        wrapped(_images(0)).sum().backward()
        afterwards = said_by(early.step)
        other = ThermoLion(model.parameters(), lr=1e-2, noise=False)
        noisy = ThermoLion(network().parameters()).state_dict()
        noisy["param_groups"][0]["params"] = list(range(len(other.param_groups[0]["params"])))
        loaded = said_by(lambda: other.load_state_dict(noisy))
        for step in range(4):
            for each, its in ((whole, one), (model, other)):
                its.zero_grad()
                images = _images(step)
                each(images if each is whole else images.chunk(2)[rank]).square().mean().backward()
                its.step()
        state = FullyShardedDataParallel.optim_state_dict(model, other)["state"]
        names = {name: one.state[param] for name, param in whole.named_parameters()}
        # On a CPU, torch 2.13 has the memory of m filled by v, whatever the optimizer.
        saved = state.keys() == names.keys() and all(
            torch.allclose(kept["exp_avg_sq"], names[name]["exp_avg_sq"], atol=1e-6)
            for name, kept in state.items()
        )
        with FullyShardedDataParallel.summon_full_params(model):
            pairs = zip(whole.parameters(), model.parameters(), strict=False)
            if not originals:
                flat_one = torch.cat([param.flatten() for param in whole.parameters()])
                flat_other = torch.cat([param.flatten() for param in model.parameters()])
                pairs = zip([flat_one], [flat_other[: len(flat_one)]], strict=True)
            off = max(float((mine - its).detach().abs().max()) for mine, its in pairs)
    return {
        "refused": refused,
        "wrapped": afterwards,
        "loaded": loaded,
        "off": off,
        "saved": saved,
    }


def fed(_rank: int) -> dict[str, Any]:
    """Feed all of v at references up to and above the global batch, and in a shorter step."""
    model = DistributedDataParallel(network())
    options: dict[str, Any] = {"gate": "replicas", "replicas_feed": "all", "weight_decay": 0.0}
    above = ThermoLion(model.parameters(), reference_batch=64, **options)
    said = said_by(lambda: attach(above, model, global_batch=32))
    optimizer = ThermoLion(model.parameters(), lr=1e-3, reference_batch=32, noise=False, **options)
    attachment = attach(optimizer, model, global_batch=32)
    longest = 0.0
    for step in range(80):
        before = torch.cat([param.detach().flatten() for param in model.parameters()])
        optimizer.zero_grad()
        count = 16 if step % 10 else 2
        attachment.shares([count] * dist.get_world_size())
        images = torch.randn(count, 4)
        loss = (model(images) - images.sum(1, keepdim=True) - 3 * torch.randn(count, 1)).square()
        loss.mean().backward()
        optimizer.step()
        after = torch.cat([param.detach().flatten() for param in model.parameters()])
        longest = max(longest, float((after - before).abs().max()) / 1e-3)
    return {"said": said, "longest": longest}


def named(rank: int) -> dict[str, bool]:
    """Say whether states mapped by name go on to the same bits: sharded, and with a gate."""
    return {"FSDP2": _sharded(rank), "gated": _gated(rank)}


def _sharded(rank: int) -> bool:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    models = [network() for _ in range(2)]
    for model in models:
        for layer in (model[0], model[2], model):
            fully_shard(layer, mesh=mesh)
    one, other = models
    first = ThermoLion(one.parameters(), lr=1e-2)
    _train(rank, one, first, 3)
    other.load_state_dict(one.state_dict())
    second = ThermoLion(list(other.parameters())[::-1], lr=1e-2)
    state = copy.deepcopy(get_optimizer_state_dict(one, first))
    set_optimizer_state_dict(other, second, state)
    _train(rank, one, first, 3)
    _train(rank, other, second, 3)
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a.to_local(), b.to_local()) for a, b in pairs)  # type: ignore[attr-defined]  # DTensors


def _gated(rank: int) -> bool:
    models = [DistributedDataParallel(network()) for _ in range(2)]
    one, other = models
    first, second = (
        ThermoLion(params, lr=1e-2, gate="replicas")
        for params in (one.parameters(), list(other.parameters())[::-1])
    )
    attach(first, one)
    attach(second, other)
    _train(rank, one, first, 3)
    other.load_state_dict(one.state_dict())
    state = copy.deepcopy(get_optimizer_state_dict(one, first))
    set_optimizer_state_dict(other, second, state)
    _train(rank, one, first, 3)
    _train(rank, other, second, 3)
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def _train(rank: int, model: nn.Module, optimizer: ThermoLion, steps: int) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        model(_images(step).chunk(2)[rank]).square().mean().backward()
        optimizer.step()
