"""Odd tensors through a step, a comparison of replicas and every way of saving."""

import copy
import io
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from every_optimizer import OURS, build
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from thermolion.ddp.replica_check import fingerprint

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
ODD = (torch.complex64, torch.complex128, torch.int32, torch.int64, torch.bool)
SHAPES = ((), (0,), (1,), (3,), (0, 2), (2, 3), (1, 1, 1), (1030,))
GRADIENTS = ("plain", "zero", "nan", "inf", "-inf", "huge", "tiny", "missing")
FORMS: list[dict[str, Any]] = [
    {},
    {"foreach": False},
    {"fused": True},
    {"foreach": True, "capturable": True},
    {"noise": False},
]


def _gradient(kind: str, param: Tensor, step: int) -> Tensor | None:
    grad = torch.ones(param.numel(), dtype=torch.float64).mul_(step).cos_()
    if kind == "missing":
        return None
    if kind in ("nan", "inf", "-inf") and step == 2:
        grad[:1] = float(kind)
    factors = {"zero": 0.0, "huge": 1e30, "tiny": 1e-30}
    return (grad * factors.get(kind, 1.0)).to(param.dtype).view(param.shape)


def _module(dtypes: list[torch.dtype], shapes: list[tuple[int, ...]]) -> nn.Module:
    module = nn.Module()
    for number, (dtype, shape) in enumerate(zip(dtypes, shapes, strict=True)):
        values = torch.linspace(-1, 1, torch.Size(shape).numel()).to(dtype).view(shape)
        module.register_parameter(f"p{number}", nn.Parameter(values))
    return module


def _train(module: nn.Module, optimizer: Any, kinds: list[str], steps: range) -> None:
    for step in steps:
        for param, kind in zip(module.parameters(), kinds, strict=True):
            param.grad = _gradient(kind, param, step)
        optimizer.step()


def _bits(module: nn.Module) -> list[int]:
    return [int(fingerprint(param)) for param in module.parameters()]


def _by_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@given(data=st.data())
@settings(max_examples=12, deadline=None)
@pytest.mark.parametrize("name", OURS)
def test_whatever_is_trained_is_saved_and_goes_on_with_the_same_bits(
    name: str, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, 3))
    types = FLOATS if name in ("thermolion", "lion", "swa") else FLOATS[:3]
    dtypes = data.draw(st.lists(st.sampled_from(types), min_size=count, max_size=count))
    shapes = data.draw(st.lists(st.sampled_from(SHAPES), min_size=count, max_size=count))
    kinds = data.draw(st.lists(st.sampled_from(GRADIENTS), min_size=count, max_size=count))
    form = data.draw(st.sampled_from(FORMS)) if name == "thermolion" else {}
    way = data.draw(st.sampled_from(["file", "copy", "by name"]))
    module = _module(dtypes, shapes)
    optimizer = build(name, module.parameters(), **form)
    _train(module, optimizer, kinds, range(1, 4))
    twin = copy.deepcopy(module)
    resumed = build(name, twin.parameters(), **form)
    if way == "by name":
        if "missing" in kinds:
            return  # torch asks for a state of every parameter
        state = copy.deepcopy(get_optimizer_state_dict(module, optimizer))
        set_optimizer_state_dict(twin, resumed, state)
    else:
        state = optimizer.state_dict()
        resumed.load_state_dict(_by_file(state) if way == "file" else copy.deepcopy(state))
    for one, each in ((module, optimizer), (twin, resumed)):
        _train(one, each, kinds, range(4, 6))
    assert _bits(module) == _bits(twin)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", ["nan", "inf", "-inf"])
def test_a_gradient_that_is_no_number_leaves_all_other_elements_finite(
    form: dict[str, Any], dtype: torch.dtype, kind: str
) -> None:
    module = _module([dtype, dtype], [(3,), (1030,)])
    optimizer = build("thermolion", module.parameters(), **form)
    _train(module, optimizer, [kind, "plain"], range(1, 6))
    first, second = module.parameters()
    assert first.detach().isnan().tolist() == [True, False, False]
    assert second.isfinite().all()


@pytest.mark.parametrize("name", OURS)
def test_a_checkpoint_of_torchs_distributed_api_goes_on_with_the_same_bits(
    name: str, tmp_path: Any
) -> None:
    def made() -> tuple[nn.Module, Any]:
        module = _module([torch.float64, torch.float32, torch.bfloat16], [(3,), (), (2, 3)])
        return module, build(name, module.parameters())

    kinds = ["plain"] * 3
    module, optimizer = made()
    _train(module, optimizer, kinds, range(1, 4))
    state = {
        "model": module.state_dict(),
        "optimizer": get_optimizer_state_dict(module, optimizer),
    }
    with pytest.warns():
        dcp.save(state, checkpoint_id=tmp_path, no_dist=True)
    twin, resumed = made()
    given = {"model": twin.state_dict(), "optimizer": get_optimizer_state_dict(twin, resumed)}
    with pytest.warns():
        dcp.load(given, checkpoint_id=tmp_path, no_dist=True)
    twin.load_state_dict(given["model"])
    set_optimizer_state_dict(twin, resumed, given["optimizer"])
    for one, each in ((module, optimizer), (twin, resumed)):
        _train(one, each, kinds, range(4, 6))
    assert _bits(module) == _bits(twin)


@pytest.mark.parametrize("name", OURS)
def test_a_plain_state_dict_in_a_distributed_checkpoint_goes_on_with_the_same_bits(
    name: str, tmp_path: Any
) -> None:
    modules = [_module([torch.float64, torch.bfloat16], [(3,), (2, 3)]) for _ in range(2)]
    optimizers = [build(name, module.parameters()) for module in modules]
    for module, optimizer, end in zip(modules, optimizers, (4, 3), strict=True):
        _train(module, optimizer, ["plain"] * 2, range(1, end))
    (one, twin), (first, second) = modules, optimizers
    with pytest.warns():
        dcp.save({"optimizer": first.state_dict()}, checkpoint_id=tmp_path, no_dist=True)
    given = {"optimizer": copy.deepcopy(second.state_dict())}
    with pytest.warns():
        dcp.load(given, checkpoint_id=tmp_path, no_dist=True)
    twin.load_state_dict(one.state_dict())
    second.load_state_dict(given["optimizer"])
    for module, optimizer in zip(modules, optimizers, strict=True):
        _train(module, optimizer, ["plain"] * 2, range(4, 6))
    assert _bits(one) == _bits(twin)
    assert str(first.state_dict()) == str(second.state_dict())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", FLOATS + ODD)
def test_a_fingerprint_of_any_tensor_is_of_its_bits_and_leaves_them(
    dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    tensor = torch.arange(torch.Size(shape).numel()).to(dtype).view(shape)
    before = tensor.clone()
    first = fingerprint(tensor)
    assert torch.equal(tensor, before)
    assert fingerprint(before) == first
    if tensor.numel():
        other = tensor.logical_not() if dtype == torch.bool else tensor + 1
        assert fingerprint(other) != first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("exp_avg"), "exp_avg_sq alone"),
        (lambda state: state.pop("exp_avg_sq"), "exp_avg alone"),
        (lambda state: state.pop("step"), "no step"),
        (lambda state: state.update(exp_avg=torch.ones(4)), r"exp_avg has the shape \(4,\)"),
        (lambda state: state.update(exp_avg_sq=torch.ones(())), r"the shape \(\) and"),
        (lambda state: state.update(param_id=-1), "param_id is -1"),
        (lambda state: state.update(param_id=0.5), "param_id is 0.5"),
        (lambda state: state.update(param_id=1), "param_ids has 1 twice"),
        (lambda state: state.update(param_id=torch.ones(3)), "param_id is tensor"),
        (lambda state: state.update(param_id=torch.tensor(0.5)), "param_id is 0.5"),
    ],
)
def test_a_state_that_can_be_none_is_refused_and_changes_nothing(change: Any, words: str) -> None:
    module = _module([torch.float32] * 2, [(3,), (3,)])
    optimizer = build("thermolion", module.parameters())
    _train(module, optimizer, ["plain"] * 2, range(1, 3))
    wrong = copy.deepcopy(optimizer.state_dict())
    change(wrong["state"][0])
    before = str(optimizer.state_dict())
    with pytest.raises(ValueError, match=words):
        optimizer.load_state_dict(wrong)
    assert str(optimizer.state_dict()) == before


@pytest.mark.parametrize(
    ("saved", "loaded", "within"),
    [
        (torch.float32, torch.float64, 1e-5),
        (torch.float64, torch.float32, 1e-5),
        (torch.float64, torch.bfloat16, 0.05),
    ],
)
def test_a_state_of_another_precision_goes_on_in_that_of_the_parameter(
    saved: torch.dtype, loaded: torch.dtype, within: float
) -> None:
    module, other = _module([saved] * 2, [(3,), (5,)]), _module([loaded] * 2, [(3,), (5,)])
    optimizer = build("thermolion", module.parameters())
    _train(module, optimizer, ["plain", "missing"], range(1, 4))
    resumed = build("thermolion", other.parameters())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    other.load_state_dict(module.state_dict())
    for one, each in ((module, optimizer), (other, resumed)):
        _train(one, each, ["plain", "plain"], range(4, 8))
    for mine, theirs in zip(module.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.double(), theirs.double(), rtol=0, atol=within)
