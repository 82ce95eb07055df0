"""What torch's own generic optimizer tests ask of every optimizer, asked of ThermoLion.

Ported by behaviour. Left out, with the reason: complex parameters and sparse gradients (refused),
`differentiable` (no such option), CUDA graphs (they need a GPU), and the equality of a complex
parameter with two real ones.
"""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import lr_scheduler

from thermolion import ThermoLion

FORMS: list[dict[str, Any]] = [
    {"foreach": False},
    {"foreach": True},
    {"foreach": True, "capturable": True},
]
SCHEDULES: list[Callable[[Any], Any] | None] = [
    None,
    lambda optimizer: lr_scheduler.StepLR(optimizer, 10, gamma=0.9),
    lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=3),
    lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.05, 60, cycle_momentum=False),
]


def _model(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1)).to(dtype)


def _closure(model: nn.Module, optimizer: Any) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(1)
    dtype = next(model.parameters()).dtype
    inputs = torch.randn(32, 8, generator=generator).to(dtype)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = ((model(inputs) - inputs.sum(dim=1, keepdim=True)) ** 2).mean()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return loss

    return closure


def _train(model: nn.Module, optimizer: Any, steps: int) -> None:
    closure = _closure(model, optimizer)
    for _ in range(steps):
        optimizer.step(closure)


def _same(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_the_loss_falls_with_every_schedule_and_with_a_rate_that_is_a_tensor(
    form: dict[str, Any], schedule: Callable[[Any], Any] | None, as_tensor: bool
) -> None:
    model = _model()
    optimizer = ThermoLion(model.parameters(), torch.tensor(0.02) if as_tensor else 0.02, **form)
    scheduler = None if schedule is None else schedule(optimizer)
    closure = _closure(model, optimizer)
    first = closure().item()
    for _ in range(60):
        loss = optimizer.step(closure)
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            scheduler.step(loss.item())
        elif scheduler is not None:
            scheduler.step()
    assert closure().item() < first / 4
    assert isinstance(optimizer.param_groups[0]["lr"], Tensor) is as_tensor


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_rate_in_a_tensor_of_one_element_is_the_number(
    form: dict[str, Any], shape: tuple[int, ...]
) -> None:
    one, other = _model(torch.float64), _model(torch.float64)
    _train(one, ThermoLion(one.parameters(), 0.125, **form), 20)
    rate = torch.full(shape, 0.125, dtype=torch.float64)
    _train(other, ThermoLion(other.parameters(), rate, **form), 20)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_a_rate_in_a_tensor_of_several_elements_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lr is a tensor of shape \(2,\).*parameter group"):
        ThermoLion(_model().parameters(), torch.tensor([0.1, 0.2]))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_maximizing_is_descending_the_other_way_and_leaves_the_gradients(
    form: dict[str, Any],
) -> None:
    one, other = nn.Parameter(torch.ones(50)), nn.Parameter(torch.ones(50))
    up, down = ThermoLion([one], maximize=True, **form), ThermoLion([other], **form)
    for _ in range(5):
        one.grad = torch.linspace(-1, 1, 50)
        other.grad = -one.grad
        before = one.grad.clone()
        up.step()
        down.step()
        assert torch.equal(one.grad, before)
    assert torch.equal(one, other)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("noise", [False, True])
def test_a_gradient_of_zero_moves_nothing_but_by_the_decay(
    form: dict[str, Any], noise: bool
) -> None:
    param = nn.Parameter(torch.randn(100))
    before = param.detach().clone()
    param.grad = torch.zeros(100)
    ThermoLion([param], noise=noise, weight_decay=0, **form).step()
    assert torch.equal(param, before)
    ThermoLion([param], lr=0.5, noise=noise, weight_decay=0.5, **form).step()
    assert torch.equal(param, before * 0.75)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_missing_gradients_no_parameters_and_empty_ones_are_no_trouble(
    form: dict[str, Any],
) -> None:
    empty, missing = nn.Parameter(torch.empty(0, 3)), nn.Parameter(torch.ones(3))
    optimizer = ThermoLion([empty, missing], **form)
    optimizer.step()
    assert not optimizer.state
    empty.grad = torch.empty(0, 3)
    optimizer.step()
    assert optimizer.state[empty]["step"] == 1
    assert torch.equal(missing, torch.ones(3))
    with pytest.raises(ValueError, match="empty parameter list"):
        ThermoLion([])


def test_parameters_of_several_types_are_trained_side_by_side() -> None:
    types = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
    together = [nn.Parameter(torch.ones(40, dtype=dtype)) for dtype in types]
    apart = [nn.Parameter(torch.ones(40, dtype=dtype)) for dtype in types]
    optimizers = [ThermoLion(together)]
    for number, param in enumerate(apart):
        optimizers.append(ThermoLion([{"params": [param], "param_ids": [number]}]))
    for _ in range(3):
        for param in together + apart:
            param.grad = torch.full_like(param, 0.5)
        for optimizer in optimizers:
            optimizer.step()
    assert all(map(torch.equal, together, apart))


@pytest.mark.parametrize("form", FORMS, ids=str)
@given(at=st.integers(1, 29), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
@settings(max_examples=6, deadline=None)
def test_a_training_that_is_saved_and_loaded_anywhere_goes_on_to_the_same_bits(
    form: dict[str, Any], at: int, dtype: torch.dtype
) -> None:
    straight = _model(dtype)
    _train(straight, ThermoLion(straight.parameters(), 0.02, seed=5, **form), 30)

    broken = _model(dtype)
    optimizer = ThermoLion(broken.parameters(), 0.02, seed=5, **form)
    _train(broken, optimizer, at)
    file = io.BytesIO()
    torch.save((broken.state_dict(), optimizer.state_dict()), file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    resumed = _model(dtype)
    resumed.load_state_dict(weights)
    optimizer = ThermoLion(resumed.parameters(), **form)
    optimizer.load_state_dict(state)
    torch.manual_seed(99)
    _train(resumed, optimizer, 30 - at)
    assert _same(straight, resumed)


def test_a_state_of_one_form_is_gone_on_with_by_another() -> None:
    one, other = _model(), _model()
    loop, foreach = (
        ThermoLion(one.parameters(), foreach=False),
        ThermoLion(other.parameters(), foreach=True),
    )
    _train(one, loop, 5)
    _train(other, foreach, 5)
    state = copy.deepcopy(loop.state_dict())
    swapped = ThermoLion(one.parameters(), foreach=True)
    swapped.load_state_dict(state)
    _train(one, swapped, 5)
    _train(other, foreach, 5)
    assert _same(one, other)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_pickled_and_a_deep_copied_optimizer_step_like_the_original(
    form: dict[str, Any],
) -> None:
    model = _model()
    optimizer = ThermoLion(model.parameters(), 0.02, **form)
    _train(model, optimizer, 3)
    copies = [copy.deepcopy((model, optimizer)), pickle.loads(pickle.dumps((model, optimizer)))]
    _train(model, optimizer, 4)
    for twin, its in copies:
        _train(twin, its, 4)
        assert _same(twin, model)


def test_weights_that_are_moved_elsewhere_are_found_again() -> None:
    # The foreach form keeps views of the parameters: they must not outlive the memory.
    one, other = _model(), _model()
    optimizer, reference = ThermoLion(one.parameters()), ThermoLion(other.parameters())
    for _ in range(3):
        _train(one, optimizer, 2)
        _train(other, reference, 2)
        for param in one.parameters():
            param.data = param.data.clone()
            optimizer.state[param]["exp_avg"] = optimizer.state[param]["exp_avg"].clone()
    assert _same(one, other)


def test_names_of_parameters_are_kept_and_key_their_noise() -> None:
    def trained(order: list[str]) -> dict[str, Tensor]:
        model = _model()
        named = dict(model.named_parameters())
        _train(model, ThermoLion([(name, named[name]) for name in order]), 3)
        return {name: param.detach() for name, param in named.items()}

    names = list(dict(_model().named_parameters()))
    forth, back = trained(names), trained(names[::-1])
    assert all(torch.equal(forth[name], back[name]) for name in names)
    optimizer = ThermoLion(_model().named_parameters())
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == names


@pytest.mark.parametrize(
    ("ids", "said"),
    [([1, 1, 2, 3], "has 1 twice"), ([1], "must be 4 whole"), ([0, 1, 2, -3], "must be 4 whole")],
)
def test_ids_of_parameters_that_cannot_key_their_noise_are_refused(
    ids: list[int], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        ThermoLion([{"params": list(_model().parameters()), "param_ids": ids}])


def test_a_group_that_is_refused_leaves_the_optimizer_as_it_was() -> None:
    optimizer = ThermoLion(_model().parameters())
    for wrong in ({"betas": (1.0, 0.9)}, {"param_ids": [0]}, {"foreach": True, "fused": True}):
        with pytest.raises(ValueError, match=r"betas|param_ids|fused"):
            optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], **wrong})
        assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    assert optimizer.param_groups[1]["param_ids"] == [4]


class _Wrapped(Tensor):
    """A tensor that may be anything: only its type is looked at."""


def test_a_form_that_cannot_be_had_is_refused_and_not_replaced() -> None:
    model = _model()
    with pytest.raises(ValueError, match=r"fused is true, but .*(triton|is on cpu)"):
        ThermoLion(model.parameters(), fused=True)
    wrapped = torch.ones(3).as_subclass(_Wrapped).requires_grad_()
    with pytest.raises(ValueError, match="foreach is true, but a parameter is a _Wrapped"):
        ThermoLion([wrapped], foreach=True)
    wrapped.grad = torch.ones(3).as_subclass(_Wrapped)
    before = wrapped.detach().clone()
    ThermoLion([wrapped]).step()
    assert (wrapped != before).all()


def test_a_gradient_scaler_that_finds_infinity_moves_nothing() -> None:
    model = _model()
    optimizer = ThermoLion(model.parameters())
    _train(model, optimizer, 2)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    for param in model.parameters():
        param.grad = torch.full_like(param, torch.inf)
    scaler.scale(torch.ones(()))
    scaler.step(optimizer)
    scaler.update()
    for old, new in zip(before, (model.state_dict(), optimizer.state_dict()), strict=True):
        assert str(old) == str(new)
    assert scaler.get_scale() == 512


def test_scaled_gradients_train_like_plain_ones() -> None:
    plain, scaled = _model(torch.float64), _model(torch.float64)
    _train(plain, ThermoLion(plain.parameters()), 5)
    optimizer = ThermoLion(scaled.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    closure = _closure(scaled, optimizer)
    for _ in range(5):
        closure()
        for param in scaled.parameters():
            assert param.grad is not None
            param.grad *= scaler.scale(torch.ones(()))
        scaler.step(optimizer)
        scaler.update()
    assert _same(plain, scaled)


def test_an_old_state_without_the_mean_square_goes_on() -> None:
    model = _model()
    optimizer = ThermoLion(model.parameters())
    _train(model, optimizer, 3)
    state = optimizer.state_dict()
    for kept in state["state"].values():
        del kept["exp_avg_sq_mean"]
    for name in ("gate", "foreach", "fused", "capturable", "maximize"):
        del state["param_groups"][0][name]
    twin = copy.deepcopy(model)
    resumed = ThermoLion(twin.parameters())
    resumed.load_state_dict(copy.deepcopy(state))
    _train(twin, resumed, 3)
    _train(model, optimizer, 3)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
