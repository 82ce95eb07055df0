"""Gradients and shapes at the edges of the types: a documented result, and never a new NaN."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from thermolion import ThermoLion

FORMS: list[dict[str, Any]] = [
    {"foreach": False},
    {"foreach": True},
    {"foreach": True, "capturable": True},
    {"fused": True},
]
TYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
SHAPES = [(), (0,), (1,), (5,), (3, 4), (2, 3, 4, 5), (1025,)]
FINITE = [0.0, -0.0, 1e-45, 1e-30, -1e-20, 1e-8, 3e-5, 1.0, -7.0, 200.0, 6e4, 1e19, -1e30, 1e37]


def _laid_out(values: Tensor, layout: str) -> Tensor:
    if layout == "transposed" and values.dim() > 1:
        return values.transpose(0, 1).contiguous().transpose(0, 1)
    if layout == "channels_last" and values.dim() == 4:
        return values.to(memory_format=torch.channels_last)
    if layout == "strided" and values.dim():
        return torch.stack([values, values], dim=-1)[..., 0]
    return values


@given(
    form=st.sampled_from(FORMS),
    dtype=st.sampled_from(TYPES),
    shape=st.sampled_from(SHAPES),
    layout=st.sampled_from(["dense", "transposed", "channels_last", "strided"]),
    grad_layout=st.sampled_from(["dense", "transposed", "channels_last", "strided"]),
    picks=st.lists(st.sampled_from(FINITE), min_size=1, max_size=7),
    eps=st.sampled_from([0.0, 1e-8]),
    noise=st.booleans(),
    seed=st.integers(0, 2**64 - 1),
)
@settings(max_examples=150, deadline=None)
def test_what_is_finite_stays_finite(
    form: dict[str, Any],
    dtype: torch.dtype,
    shape: tuple[int, ...],
    layout: str,
    grad_layout: str,
    picks: list[float],
    eps: float,
    noise: bool,
    seed: int,
) -> None:
    param = nn.Parameter(_laid_out(torch.ones(shape, dtype=dtype), layout))
    optimizer = ThermoLion([param], eps=eps, noise=noise, seed=seed, **form)
    largest = torch.finfo(dtype).max
    for step in range(3):
        repeated = torch.tensor(picks[step % len(picks) :] + picks, dtype=torch.float64)
        values = repeated.repeat(param.numel() // len(repeated) + 1)[: param.numel()]
        grad = values.clamp(-largest / 8, largest / 8).view(shape).to(dtype)
        param.grad = _laid_out(grad, grad_layout)
        optimizer.step()
        assert param.shape == shape
        state = optimizer.state[param]
        assert not state["exp_avg"].isnan().any()
        assert not state["exp_avg_sq"].isnan().any()
        assert not param.isnan().any(), (step, picks)
        if not noise:  # the scale of the noise follows the gradients, as large as they are
            assert param.isfinite().all(), (step, picks)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_square_that_overflows_leaves_the_sign_step_and_ends_the_noise(
    form: dict[str, Any],
) -> None:
    param = nn.Parameter(torch.zeros(3))
    optimizer = ThermoLion([param], lr=1.0, weight_decay=0, **form)
    param.grad = torch.tensor([1e30, -1e30, 1e30])
    optimizer.step()
    assert param.tolist() == [-1.5, 1.5, -1.5]
    assert optimizer.state[param]["exp_avg_sq"].isinf().all()


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_spoils_its_own_element_alone(form: dict[str, Any], bad: float) -> None:
    param, sound = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))
    optimizer = ThermoLion([param, sound], **form)
    param.grad, sound.grad = torch.tensor([1.0, bad, -1.0, 0.0]), torch.ones(4)
    optimizer.step()
    assert param.isnan().tolist() == [False, True, False, False]
    assert sound.isfinite().all()


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_gradients_whose_squares_vanish_take_bounded_steps_in_float16(
    form: dict[str, Any],
) -> None:
    param = nn.Parameter(torch.zeros(100, dtype=torch.float16))
    optimizer = ThermoLion([param], lr=1.0, noise=False, weight_decay=0, **form)
    param.grad = torch.full_like(param, 1e-4)
    for _ in range(3):
        before = param.detach().clone()
        optimizer.step()
        assert (before - param.detach()).abs().max() < 4.7  # twice the bound of |m|/√v, 2.345
