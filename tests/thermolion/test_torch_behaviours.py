"""What torch's own generic optimizer tests ask of every optimizer, asked of ThermoLion.

Ported by behaviour. Left out, with the reason: complex parameters and sparse gradients (refused),
`differentiable` (no such option), CUDA graphs (they need a GPU), and the equality of a complex
parameter with two real ones.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from regression import FORMS, closure_of, new_model, train
from torch import Tensor, nn
from torch.optim import lr_scheduler

from thermolion import ThermoLion

SCHEDULES: list[Callable[[Any], Any] | None] = [
    None,
    lambda optimizer: lr_scheduler.StepLR(optimizer, 10, gamma=0.9),
    lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=3),
    lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.05, 60, cycle_momentum=False),
]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_the_loss_falls_with_every_schedule_and_with_a_rate_that_is_a_tensor(
    form: dict[str, Any], schedule: Callable[[Any], Any] | None, as_tensor: bool
) -> None:
    model = new_model()
    optimizer = ThermoLion(model.parameters(), torch.tensor(0.02) if as_tensor else 0.02, **form)
    scheduler = None if schedule is None else schedule(optimizer)
    closure = closure_of(model, optimizer)
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
    one, other = new_model(torch.float64), new_model(torch.float64)
    train(one, ThermoLion(one.parameters(), 0.125, **form), 20)
    rate = torch.full(shape, 0.125, dtype=torch.float64)
    train(other, ThermoLion(other.parameters(), rate, **form), 20)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_a_rate_in_a_tensor_of_several_elements_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lr is a tensor of shape \(2,\).*parameter group"):
        ThermoLion(new_model().parameters(), torch.tensor([0.1, 0.2]))


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


class _Wrapped(Tensor):
    """A tensor that may be anything: only its type is looked at."""


def test_a_form_that_cannot_be_had_is_refused_and_not_replaced() -> None:
    model = new_model()
    with pytest.raises(ValueError, match=r"fused is true, but .*(triton|is on meta)"):
        ThermoLion(model.to("meta").parameters(), fused=True)
    wrapped = torch.ones(3).as_subclass(_Wrapped).requires_grad_()
    with pytest.raises(ValueError, match="foreach is true, but a parameter is a _Wrapped"):
        ThermoLion([wrapped], foreach=True)
    wrapped.grad = torch.ones(3).as_subclass(_Wrapped)
    before = wrapped.detach().clone()
    ThermoLion([wrapped]).step()
    assert (wrapped != before).all()
