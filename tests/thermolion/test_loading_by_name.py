"""Checkpoints that torch maps by name: every parameter keeps the noise that it had."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from regression import new_model, same, train
from torch import nn
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from thermolion import ThermoLion

FLAT = StateDictOptions(flatten_optimizer_state_dict=True)


def _grouped(model: nn.Module, *sizes: int, named: bool = False) -> list[dict[str, Any]]:
    """Return groups of parameters, in reverse order, of these sizes."""
    params: list[Any] = list(model.named_parameters() if named else model.parameters())[::-1]
    groups = []
    for size in sizes:
        groups.append({"params": params[:size]})
        params = params[size:]
    return groups


@pytest.mark.parametrize("options", [None, FLAT], ids=["nested", "flat"])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(("before", "after"), [((4,), (1, 3)), ((3, 1), (4,)), ((2, 2), (1, 3))])
def test_other_groups_in_another_order_go_on_with_the_same_bits(
    before: tuple[int, ...], after: tuple[int, ...], named: bool, options: StateDictOptions | None
) -> None:
    one, other = new_model(), new_model()
    order: Any = one.named_parameters() if named else one.parameters()
    params, groups = list(order), []
    for size in before:
        groups.append({"params": params[:size]})
        params = params[size:]
    first = ThermoLion(groups, lr=0.02)
    train(one, first, 3)
    other.load_state_dict(one.state_dict())
    state = copy.deepcopy(get_optimizer_state_dict(one, first, options=options))
    second = ThermoLion(_grouped(other, *after, named=named), lr=0.02)
    set_optimizer_state_dict(other, second, state, options=options)
    ids = {
        id(p): i
        for g in first.param_groups
        for p, i in zip(g["params"], g["param_ids"], strict=True)
    }
    assert [len(group["param_ids"]) for group in second.param_groups] == list(after)
    pairs = dict(zip(other.parameters(), one.parameters(), strict=True))
    for group in second.param_groups:
        assert group["param_ids"] == [ids[id(pairs[param])] for param in group["params"]]
    train(one, first, 3)
    train(other, second, 3)
    assert same(one, other)
    if named:
        assert list(second.telemetry()) == [
            name for name, _ in list(other.named_parameters())[::-1]
        ]


def test_a_parameter_that_has_not_moved_yet_gets_a_number_that_is_free() -> None:
    one, other = nn.ParameterList(torch.ones(3) for _ in range(3)), nn.ParameterList()
    other.extend(copy.deepcopy(list(one)))
    first, second = ThermoLion(one), ThermoLion(list(other)[::-1])
    for param in list(one)[:2]:
        param.grad = torch.ones(3)
    first.step()
    state = copy.deepcopy(get_optimizer_state_dict(nn.ModuleList([one]), first))
    options = StateDictOptions(strict=False)
    set_optimizer_state_dict(nn.ModuleList([other]), second, state, options=options)
    assert second.param_groups[0]["param_ids"] == [2, 1, 0]


def test_a_state_that_an_earlier_version_saved_loads_and_goes_on_with_the_same_bits() -> None:
    one = new_model()
    params = list(one.parameters())
    first = ThermoLion([{"params": params, "param_ids": [7, 5, 3, 1]}], lr=0.02)
    train(one, first, 3)
    state = copy.deepcopy(first.state_dict())
    for kept in state["state"].values():
        del kept["param_id"]
    state["param_groups"][0]["differentiable"] = False  # of one that had been loaded itself
    other = copy.deepcopy(one)
    second = ThermoLion(other.parameters())
    second.load_state_dict(state)
    assert second.param_groups[0].keys() == first.param_groups[0].keys()
    train(one, first, 3)
    train(other, second, 3)
    assert same(one, other)


def test_without_noise_a_state_has_no_numbers_of_it() -> None:
    model = new_model()
    optimizer = ThermoLion(model.parameters(), noise=False)
    train(model, optimizer, 1)
    assert all("param_id" not in kept for kept in optimizer.state.values())


def test_a_folder_that_an_earlier_version_saved_loads_in_part_and_keeps_its_noise(
    tmp_path: Path,
) -> None:
    one = new_model()
    first = ThermoLion(one.parameters(), lr=0.02)
    train(one, first, 3)
    old = copy.deepcopy(get_optimizer_state_dict(one, first))
    for kept in old["state"].values():
        del kept["param_id"]
    other = copy.deepcopy(one)
    second = ThermoLion(other.parameters())
    new = get_optimizer_state_dict(other, second)
    with pytest.warns():  # that there is one process
        dcp.save({"optimizer": old}, checkpoint_id=tmp_path, no_dist=True)
    planner = DefaultLoadPlanner(allow_partial_load=True)
    with pytest.warns():
        dcp.load({"optimizer": new}, checkpoint_id=tmp_path, planner=planner, no_dist=True)
    set_optimizer_state_dict(other, second, new)
    train(one, first, 3)
    train(other, second, 3)
    assert same(one, other)
