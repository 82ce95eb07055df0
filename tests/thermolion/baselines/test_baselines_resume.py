"""Baselines that remember: saved, copied, hooked, scaled and skipped like any optimizer."""

import copy
import io
import math
import pickle
from typing import Any

import pytest
import torch
from paths import drawn_gradients, new_params, walk
from torch import nn
from torch.optim import Optimizer

from thermolion import registry

# With what each has switched or synchronised within twelve steps.
EAGER: dict[str, dict[str, Any]] = {
    "nadam": {},
    "muadam": {"weight_decay": 0.1},
    "lookahead": {"slow_every": 3},
    "swats": {"threshold": 0.05, "lr": 0.01},
    "swats_notebook": {"switch_after": 7},
    "swa": {"momentum": 0.9, "average_from": 0.2},
}


def _saved(optimizer: Optimizer) -> Any:
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("name", EAGER)
def test_it_goes_on_with_the_same_bits_from_a_file_a_copy_or_a_pickle_at_any_step(
    name: str,
) -> None:
    gradients = drawn_gradients(12)
    params = new_params(torch.float32)
    optimizer = registry.build(name, params, EAGER[name], seed=0, steps=12, steps_per_epoch=3)
    path = walk(optimizer, params, gradients)
    kept = []
    for _ in range(12):
        copied = copy.deepcopy((params, optimizer))
        pickled = pickle.loads(pickle.dumps((params, optimizer)))
        loaded = [nn.Parameter(param.detach().clone()) for param in params]
        other = registry.build(name, loaded, {}, seed=0, steps=12, steps_per_epoch=3)
        other.load_state_dict(_saved(optimizer))
        kept.append((copied, pickled, (loaded, other)))
        last = next(path)
    for step, ways in enumerate(kept):
        for others, resumed in ways:
            *_, end = walk(resumed, others, gradients[step:])
            assert all(map(torch.equal, end, last))


@pytest.mark.parametrize("name", EAGER)
def test_hooks_closures_and_later_groups_work_as_with_any_optimizer(name: str) -> None:
    first, second, idle = (nn.Parameter(torch.ones(2)) for _ in range(3))
    optimizer = registry.build(
        name, [first, idle], EAGER[name], seed=0, steps=12, steps_per_epoch=3
    )
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))

    def closure() -> float:
        optimizer.zero_grad()
        loss = (first**2).sum() + (second**2).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert calls == ["before", "after"]
    assert idle not in optimizer.state
    optimizer.add_param_group({"params": [second]})
    for _ in range(12):
        optimizer.step(closure)
    assert first.abs().max() < 1
    assert second.abs().max() < 1
    assert torch.equal(idle.detach(), torch.ones(2))


@pytest.mark.parametrize("name", EAGER)
def test_a_step_that_the_scaler_skips_changes_nothing(name: str) -> None:
    param = nn.Parameter(torch.ones(2))
    optimizer = registry.build(name, [param], EAGER[name], seed=0, steps=12, steps_per_epoch=3)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale((param * torch.tensor([1.0, math.inf])).sum()).backward()
    before = copy.deepcopy(optimizer.state_dict())
    scaler.step(optimizer)
    scaler.update()
    assert optimizer.state_dict() == before
    assert torch.equal(param.detach(), torch.ones(2))
    optimizer.zero_grad()
    scaler.scale(param.sum()).backward()
    scaler.step(optimizer)
    assert param.max() < 1
