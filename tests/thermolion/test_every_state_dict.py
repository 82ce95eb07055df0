"""What torch's, timm's and pytorch_optimizer's suites ask of saved, copied and hooked optimizers.

By behaviour, for every optimizer of the registry.
"""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from every_optimizer import NAMES, build, parameter_of, shape_of, take_steps
from regression import new_model, same, train
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

pytestmark = pytest.mark.parametrize("name", NAMES)


def _saved(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_a_loaded_optimizer_goes_on_with_the_same_bits_and_has_the_same_keys(name: str) -> None:
    one = new_model()
    first = build(name, one.parameters(), weight_decay=0.01)
    train(one, first, 7)
    other = copy.deepcopy(one)
    second = build(name, other.parameters(), lr=0.5)
    second.load_state_dict(_saved(first.state_dict()))
    assert shape_of(second.state_dict()) == shape_of(first.state_dict())
    assert str(second.state_dict()) == str(first.state_dict())
    train(one, first, 7)
    train(other, second, 7)
    assert same(one, other)
    assert str(second.state_dict()) == str(first.state_dict())


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copy_goes_its_own_way_to_the_same_place(name: str, way: str) -> None:
    model = new_model()
    optimizer = build(name, model.parameters())
    train(model, optimizer, 4)
    both = (model, optimizer)
    twin, its = copy.deepcopy(both) if way == "deepcopy" else pickle.loads(pickle.dumps(both))
    assert shape_of(its.state_dict()) == shape_of(optimizer.state_dict())
    train(twin, its, 4)
    assert not same(model, twin)
    train(model, optimizer, 4)
    assert same(model, twin)


def test_a_group_added_after_loading_has_the_options_of_the_others(name: str) -> None:
    param, later = parameter_of(), parameter_of()
    optimizer = build(name, [param])
    take_steps(optimizer, [param])
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    optimizer.add_param_group({"params": [later]})
    assert optimizer.param_groups[0].keys() == optimizer.param_groups[1].keys()
    take_steps(optimizer, [param, later])
    assert not torch.equal(later, parameter_of())


def test_a_state_of_an_older_version_without_newer_options_loads(name: str) -> None:
    model = new_model()
    optimizer = build(name, model.parameters())
    train(model, optimizer, 3)
    old = copy.deepcopy(optimizer.state_dict())
    for option in ("maximize", "foreach", "fused", "differentiable", "capturable"):
        for group in old["param_groups"]:
            group.pop(option, None)
    for kept in old["state"].values():
        if "step" in kept:
            kept["step"] = int(kept["step"]) if name == "swats" else float(kept["step"])
    twin = copy.deepcopy(model)
    loaded = build(name, twin.parameters())
    loaded.load_state_dict(old)
    train(twin, loaded, 3)
    train(model, optimizer, 3)
    assert same(model, twin)


def test_states_with_and_without_names_load_into_each_other(name: str) -> None:
    for named in (True, False):
        one = new_model()
        first = build(name, one.named_parameters() if named else one.parameters())
        train(one, first, 3)
        other = copy.deepcopy(one)
        second = build(name, other.parameters() if named else other.named_parameters())
        second.load_state_dict(_saved(first.state_dict()))
        train(one, first, 3)
        train(other, second, 3)
        assert same(one, other)


def test_groups_that_do_not_fit_are_refused_and_change_nothing(name: str) -> None:
    param = parameter_of()
    optimizer = build(name, [param])
    take_steps(optimizer, [param])
    before = str(optimizer.state_dict())
    two = build(name, [parameter_of(), parameter_of()]).state_dict()
    more = build(name, [{"params": [parameter_of()]}, {"params": [parameter_of()]}]).state_dict()
    for state, words in ((two, "size of optimizer's group"), (more, "different number")):
        with pytest.raises(ValueError, match=words):
            optimizer.load_state_dict(state)
    assert str(optimizer.state_dict()) == before


def test_hooks_of_a_step_run_around_it_those_of_all_optimizers_outside(name: str) -> None:
    param = parameter_of()
    optimizer = build(name, [param])
    seen: list[tuple[str, bool]] = []

    def note(word: str) -> Any:
        return lambda *_: seen.append((word, torch.equal(param, parameter_of())))

    handles = [
        register_optimizer_step_pre_hook(note("all, before")),
        register_optimizer_step_post_hook(note("all, after")),
        optimizer.register_step_pre_hook(note("before")),
        optimizer.register_step_post_hook(note("after")),
    ]
    take_steps(optimizer, [param], 1)
    for handle in handles:
        handle.remove()
    take_steps(optimizer, [param], 1)
    assert seen == [
        *(("all, before", True), ("before", True)),
        *(("after", False), ("all, after", False)),
    ]


def test_hooks_of_saving_and_loading_see_and_change_what_torch_promises(name: str) -> None:
    param, other = parameter_of(), parameter_of()
    optimizer, loaded = build(name, [param]), build(name, [other])
    take_steps(optimizer, [param])
    seen = []
    optimizer.register_state_dict_pre_hook(lambda _: seen.append("saving"))
    optimizer.register_state_dict_post_hook(lambda _, state: {"optimizer": state, "epoch": 3})
    wrapped = optimizer.state_dict()
    assert seen == ["saving"]
    assert wrapped["epoch"] == 3

    def unwrap(_: Any, state: dict[str, Any]) -> dict[str, Any]:
        seen.append("unwrapped")
        return dict(state["optimizer"])

    def double(_: Any, state: dict[str, Any]) -> None:
        seen.append("doubled")
        state["param_groups"] = [
            {**group, "lr": 2 * group["lr"]} for group in state["param_groups"]
        ]
        for key, kept in state["state"].items():
            state["state"][key] = {**kept, "marked": 5}

    def check(it: Any) -> None:
        seen.append("loaded")
        it.param_groups[0]["weight_decay"] = 0.25

    loaded.register_load_state_dict_pre_hook(double)
    loaded.register_load_state_dict_pre_hook(unwrap, prepend=True)
    loaded.register_load_state_dict_post_hook(check)
    loaded.load_state_dict(wrapped)
    assert seen == ["saving", "unwrapped", "doubled", "loaded"]
    assert list(wrapped) == ["optimizer", "epoch"]
    group = loaded.param_groups[0]
    assert group["lr"] == 2 * optimizer.param_groups[0]["lr"]
    assert group["weight_decay"] == 0.25
    assert all(kept["marked"] == 5 for kept in loaded.state.values())


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_a_state_that_torch_maps_by_name_goes_on_in_another_order(
    name: str, named: bool, flat: bool
) -> None:
    options = StateDictOptions(flatten_optimizer_state_dict=flat)

    def order(model: nn.Module, turn: int) -> Any:
        return [pair if named else pair[1] for pair in list(model.named_parameters())[::turn]]

    one, other = new_model(), new_model()
    first = build(name, order(one, 1))
    train(one, first, 3)
    other.load_state_dict(one.state_dict())
    state = copy.deepcopy(get_optimizer_state_dict(one, first, options=options))
    second = build(name, order(other, -1))
    set_optimizer_state_dict(other, second, state, options=options)
    train(one, first, 3)
    train(other, second, 3)
    assert same(one, other)


def test_a_first_runs_checkpoint_has_the_keys_that_a_loaded_optimizer_asks_for(name: str) -> None:
    model = new_model()
    optimizer = build(name, model.parameters())
    train(model, optimizer, 2)
    first = get_optimizer_state_dict(model, optimizer)
    set_optimizer_state_dict(model, optimizer, copy.deepcopy(first))
    assert shape_of(get_optimizer_state_dict(model, optimizer)) == shape_of(first)
