"""The step and its noise against the paper's equations in plain numpy."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trainings import (
    LAST_NOISY_STEP,
    SHAPE,
    Reference,
    draws,
    gradients,
    parameter,
    start_values,
    trained,
)

from thermolion import ThermoLion


def test_one_step_from_rest_has_the_size_worked_out_by_hand() -> None:
    # g = 4: m = 0.4, v = 0.16, so the ratio is 1; aligned, so gas = 1.5 and solid = 2.
    param = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    optimizer = ThermoLion([param], lr=0.1, weight_decay=0.0, eps=0.0, noise=False)
    param.grad = torch.tensor([4.0], dtype=torch.float64)
    optimizer.step()
    gate = math.tanh(1)
    assert param.item() == pytest.approx(3 - 0.1 * ((1 - gate) * 1.5 + gate * 2), rel=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr": 0.03, "weight_decay": 0.2},
        {"weight_decay": 0.0},
        {"alignment": 0.0},
        {"alignment": 1.7, "solid_gain": 0.3},
        {"betas": (0.5, 0.7), "eps": 0.3},
    ],
    ids=str,
)
def test_hundreds_of_steps_without_noise_follow_the_equations(options: dict[str, Any]) -> None:
    param = parameter(start_values())
    optimizer = ThermoLion([param], noise=False, **options)
    named = dict(options)
    if "betas" in named:
        named["beta1"], named["beta2"] = named.pop("betas")
    reference = Reference(start_values(), **named)
    for grad in gradients(300):
        param.grad = torch.tensor(grad)
        optimizer.step()
        reference.step(grad)
        np.testing.assert_allclose(param.detach().numpy(), reference.theta, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("temp_decay", [0.99, 0.9, 1.0])
def test_steps_with_noise_follow_the_equations_on_the_same_draws(temp_decay: float) -> None:
    param = parameter(start_values())
    optimizer = ThermoLion([param], lr=0.01, seed=5, temp_decay=temp_decay)
    reference = Reference(start_values(), lr=0.01, temp_decay=temp_decay)
    quiet = Reference(start_values(), lr=0.01)
    for step, grad in enumerate(gradients(LAST_NOISY_STEP + 40), start=1):
        param.grad = torch.tensor(grad)
        optimizer.step()
        reference.step(grad, draws(seed=5, step=step))
        quiet.step(grad)
        np.testing.assert_allclose(param.detach().numpy(), reference.theta, rtol=1e-11, atol=1e-13)
    assert np.abs(reference.theta - quiet.theta).min() > 1e-6  # the noise was worth comparing


def test_single_precision_follows_the_equations_to_its_own_accuracy() -> None:
    param = nn.Parameter(torch.tensor(start_values(), dtype=torch.float32))
    reference = Reference(start_values())
    optimizer = ThermoLion([param], noise=False)
    for grad in gradients(30):
        param.grad = torch.tensor(grad, dtype=torch.float32)
        optimizer.step()
        reference.step(grad)
    np.testing.assert_allclose(param.detach().numpy(), reference.theta, rtol=1e-5, atol=1e-6)


def test_a_parameter_of_no_dimensions_is_trained_like_an_array_of_one() -> None:
    scalar = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
    optimizer = ThermoLion([scalar], noise=False)
    reference = Reference(np.array([1.5]))
    for grad in (0.3, -0.2, 0.7):
        scalar.grad = torch.tensor(grad, dtype=torch.float64)
        optimizer.step()
        reference.step(np.array([grad]))
    assert scalar.item() == pytest.approx(reference.theta.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("step", "noisy"), [(LAST_NOISY_STEP, True), (LAST_NOISY_STEP + 1, False)]
)
def test_the_noise_ends_after_step_458(step: int, noisy: bool) -> None:
    params = [parameter(start_values()), parameter(start_values())]
    for param, seed in zip(params, (1, 2), strict=True):
        optimizer = ThermoLion([param], seed=seed)
        param.grad = torch.zeros(SHAPE, dtype=torch.float64)
        optimizer.state[param].update(
            step=torch.tensor(float(step - 1)),
            exp_avg=torch.zeros_like(param),
            exp_avg_sq=torch.ones_like(param),
        )
        optimizer.step()
    assert torch.equal(*params) is not noisy


def test_noise_false_takes_the_noise_out() -> None:
    assert torch.equal(trained(noise=False, seed=1), trained(noise=False, seed=2))
    assert not torch.equal(trained(noise=False), trained())


def test_equal_seeds_give_equal_bits_and_other_seeds_other_bits() -> None:
    assert torch.equal(trained(seed=3), trained(seed=3))
    assert not torch.equal(trained(seed=3), trained(seed=4))


def test_the_noise_neither_moves_nor_follows_the_global_generator() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = trained()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(trained(), first)


def test_equal_parameters_at_other_places_get_other_noise() -> None:
    one, other = parameter(start_values()), parameter(start_values())
    optimizer = ThermoLion([one, other])
    for param in (one, other):
        param.grad = torch.ones_like(param)
    optimizer.step()
    assert not torch.equal(one, other)


def test_the_noise_of_a_parameter_is_the_same_whoever_else_has_a_gradient() -> None:
    def second(first_has_a_gradient: bool, split: bool) -> Tensor:
        params = [parameter(start_values(2)), parameter(start_values())]
        groups: Sequence[Any] = [{"params": [param]} for param in params] if split else params
        optimizer = ThermoLion(groups)
        for grad in gradients(5):
            params[0].grad = torch.tensor(grad) if first_has_a_gradient else None
            params[1].grad = torch.tensor(grad)
            optimizer.step()
        return params[1].detach()

    expected = second(first_has_a_gradient=True, split=False)
    assert torch.equal(second(first_has_a_gradient=False, split=False), expected)
    assert torch.equal(second(first_has_a_gradient=True, split=True), expected)
