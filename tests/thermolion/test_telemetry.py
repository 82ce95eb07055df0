"""What the optimizer says of its layers: by the formulas in numpy, in every form, at no cost."""

import copy
import math
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
import torch
from imagined import attach_to_nobody
from torch import nn
from trainings import gradients, parameter, run, start_values, trained

from thermolion import ThermoLion
from thermolion.step.state import GATE_SQUARE


def _expected(m: Any, root: Any, grad: Any, steps: int, width: int) -> tuple[float, ...]:
    gate = np.tanh(np.abs(m) / (root + 1e-8))
    return (
        gate.mean(),
        (gate < 0.5).mean(),
        (np.sign(m) * np.sign(grad) > 0).mean(),
        0.99**steps,
        ((1 - gate) + width * gate).mean(),
    )


@pytest.mark.parametrize(
    "options", [{"foreach": False}, {"foreach": True}, {"capturable": True}], ids=str
)
def test_every_measure_is_that_of_the_formula(options: dict[str, Any]) -> None:
    param, grads = parameter(start_values()), gradients(25)
    optimizer = ThermoLion([param], **options)
    run(optimizer, param, grads)
    m = v = np.zeros_like(grads[0])
    for grad in grads:
        m, v = 0.9 * m + 0.1 * grad, 0.99 * v + 0.01 * grad**2
    expected = _expected(m, np.sqrt(v), grads[-1], 25, 64)
    (layer,) = optimizer.telemetry().values()
    assert astuple(layer) == pytest.approx(expected, rel=1e-12)
    assert 0 < layer.gas < 1
    assert 0 < (layer.alignment or 0) < 1


def test_one_gradient_again_and_again_has_the_gate_of_its_weights_and_is_all_aligned() -> None:
    for step in (1, 2, 30):
        param = parameter(start_values())
        optimizer = ThermoLion([param])
        run(optimizer, param, np.full((step, 4, 3), -3.0))
        gate = math.tanh((1 - 0.9**step) / math.sqrt(1 - 0.99**step))
        (layer,) = optimizer.telemetry().values()
        assert (layer.gate, layer.alignment) == (pytest.approx(gate), 1)
        assert layer.gas == float(gate < 0.5)
        assert layer.bitrate == pytest.approx(1 + 63 * gate)


def test_gradients_of_zero_are_all_gas_and_aligned_with_nothing() -> None:
    param = parameter(start_values())
    optimizer = ThermoLion([param], noise=False)
    run(optimizer, param, np.zeros((3, 4, 3)))
    (layer,) = optimizer.telemetry().values()
    assert astuple(layer) == (0, 1, 0, None, 1)


def test_a_climb_is_aligned_with_the_gradient_that_it_climbs() -> None:
    param = parameter(start_values())
    optimizer = ThermoLion([param], maximize=True)
    run(optimizer, param, gradients(1))
    (climbing,) = optimizer.telemetry().values()
    param.grad = -param.grad  # type: ignore[operator]  # the step has left one
    (other,) = optimizer.telemetry().values()
    assert climbing.alignment == (gradients(1)[0] != 0).mean()
    assert other.alignment == 0


def test_parameters_go_by_name_and_those_that_have_not_moved_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    assert not ThermoLion(model.parameters()).telemetry()
    own, numbered = ThermoLion(model.named_parameters()), ThermoLion(model.parameters())
    model(torch.ones(4, 3)).sum().backward()
    model[0].bias.grad = None
    own.step()
    numbered.step()
    names = ["0.weight", "1.weight", "1.bias"]
    assert list(own.telemetry()) == names
    assert list(numbered.telemetry()) == ["0", "2", "3"]
    given = {param: name for name, param in model.named_parameters()}
    assert list(numbered.telemetry(given)) == names
    model.zero_grad()
    assert {layer.alignment for layer in own.telemetry().values()} == {None}


@pytest.mark.parametrize("gate", ["averaged", "replicas", "local"])
def test_the_gate_is_that_of_its_own_moment_if_it_has_one(gate: Any) -> None:
    param, grads = parameter(start_values()), gradients(5)
    optimizer = ThermoLion([param], gate=gate)
    attach_to_nobody(optimizer)
    run(optimizer, param, grads)
    state = optimizer.state[param]
    root = state[GATE_SQUARE if gate == "replicas" else "exp_avg_sq"].sqrt().numpy()
    expected = _expected(state["exp_avg"].numpy(), root, grads[-1], 5, 64)
    (layer,) = optimizer.telemetry().values()
    assert astuple(layer) == pytest.approx(expected, rel=1e-12)


def test_half_precision_whose_v_has_vanished_keeps_to_the_bound_of_the_step() -> None:
    param = nn.Parameter(torch.zeros(5, dtype=torch.float16))
    optimizer = ThermoLion([param], eps=0.0)
    for _ in range(3):
        param.grad = torch.full_like(param, 1e-3)
        optimizer.step()
    (layer,) = optimizer.telemetry().values()
    assert layer.gate <= math.tanh(2.36)
    assert layer.bitrate == pytest.approx(1 + 15 * layer.gate)


def test_asking_at_every_step_changes_no_bit() -> None:
    param = parameter(start_values())
    optimizer = ThermoLion([param])
    for grad in gradients(20):
        run(optimizer, param, grad[None])
        before = copy.deepcopy(optimizer.state[param])
        optimizer.telemetry()
        after = optimizer.state[param]
        torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert torch.equal(param.detach(), trained(20))
