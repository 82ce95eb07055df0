"""ThermoLion as a citizen of torch.optim: state, groups, schedules, hooks, refusals."""

import copy
import io
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from trainings import (
    Reference,
    draws,
    gradients,
    parameter,
    run,
    start_values,
    trained,
)

from thermolion import ThermoLion


def test_a_parameter_without_a_gradient_stays_and_its_clock_stands_still() -> None:
    late, always = parameter(start_values()), parameter(start_values(2))
    optimizer = ThermoLion([late, always])
    run(optimizer, always, gradients(3))
    assert torch.equal(late.detach(), torch.tensor(start_values()))
    assert late not in optimizer.state
    always.grad = None
    run(optimizer, late, gradients(20))
    assert torch.equal(late.detach(), trained(20))


def test_a_saved_state_resumes_to_the_same_bits_noise_included() -> None:
    grads = gradients(40)
    straight = parameter(start_values())
    run(ThermoLion([straight], seed=9, lr=0.01), straight, grads)

    before = parameter(start_values())
    optimizer = ThermoLion([before], seed=9, lr=0.01)
    run(optimizer, before, grads[:15])
    file = io.BytesIO()
    torch.save({"param": before.detach(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    torch.manual_seed(123)
    saved = torch.load(file, weights_only=True)

    after = nn.Parameter(saved["param"].clone())
    resumed = ThermoLion([after])
    resumed.load_state_dict(saved["optimizer"])
    run(resumed, after, grads[15:])
    assert torch.equal(after, straight)


def test_the_state_keeps_its_clock_through_a_save_in_half_precision() -> None:
    param = nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))
    optimizer = ThermoLion([param])
    param.grad = torch.ones_like(param)
    optimizer.step()
    optimizer.state[param]["step"].fill_(1001)  # bfloat16 would round it to 1000
    other = ThermoLion([param])
    other.load_state_dict(optimizer.state_dict())
    assert other.state[param]["step"].item() == 1001


def test_noise_that_pauses_is_as_strong_as_the_gradients_by_then() -> None:
    means = []
    for pauses in (False, True):
        param = parameter(start_values())
        optimizer = ThermoLion([param], temp_decay=1.0)
        run(optimizer, param, gradients(5))
        optimizer.param_groups[0]["noise"] = not pauses
        run(optimizer, param, [100 * grad for grad in gradients(20)])
        optimizer.param_groups[0]["noise"] = True
        run(optimizer, param, gradients(1))
        means.append(optimizer.state[param]["exp_avg_sq_mean"].item())
    assert means[1] == pytest.approx(means[0], rel=1e-5)


def test_a_deep_copy_goes_its_own_way_and_to_the_same_place() -> None:
    grads = gradients(20)
    param = parameter(start_values())
    optimizer = ThermoLion([param])
    run(optimizer, param, grads[:10])
    twin, twin_optimizer = copy.deepcopy((param, optimizer))
    at_the_fork = param.detach().clone()
    run(twin_optimizer, twin, grads[10:])
    assert torch.equal(param, at_the_fork)
    run(optimizer, param, grads[10:])
    assert torch.equal(param, twin)


def test_a_closure_is_called_with_gradients_on_and_its_loss_is_returned() -> None:
    param = parameter(start_values())
    optimizer = ThermoLion([param])

    def closure() -> float:
        optimizer.zero_grad()
        loss = (param**2).sum()
        loss.backward()
        return loss.item()

    first = (param**2).sum().item()
    assert optimizer.step(closure) == first
    assert closure() < first


def test_groups_are_trained_with_their_own_hyperparameters() -> None:
    params = [parameter(start_values()), parameter(start_values(2))]
    optimizer = ThermoLion(
        [{"params": params[0], "lr": 0.02}, {"params": params[1], "weight_decay": 0.5}], seed=3
    )
    references = [Reference(start_values(), lr=0.02), Reference(start_values(2), weight_decay=0.5)]
    for step, grad in enumerate(gradients(20), start=1):
        for param_id, (param, reference) in enumerate(zip(params, references, strict=True)):
            param.grad = torch.tensor(grad)
            reference.step(grad, draws(seed=3, step=step, param_id=param_id))
        optimizer.step()
    for param, reference in zip(params, references, strict=True):
        np.testing.assert_allclose(param.detach().numpy(), reference.theta, rtol=1e-11)


def test_a_group_added_later_takes_the_next_places() -> None:
    at_once = [parameter(start_values()), parameter(start_values())]
    later = [parameter(start_values()), parameter(start_values())]
    together, grown = ThermoLion(at_once), ThermoLion(later[:1])
    grown.add_param_group({"params": later[1:]})
    for optimizer, params in ((together, at_once), (grown, later)):
        for param in params:
            param.grad = torch.ones_like(param)
        optimizer.step()
    assert torch.equal(at_once[0], later[0])
    assert torch.equal(at_once[1], later[1])


def test_a_scaler_unscales_for_all_groups_unless_every_one_is_fused() -> None:
    plain, scaled = (nn.Parameter(torch.ones(3)) for _ in range(2))
    still = nn.Parameter(torch.ones(3))  # without a gradient: a fused step takes a GPU
    optimizers = [ThermoLion([plain]), ThermoLion([{"params": [scaled]}, {"params": [still]}])]
    optimizers[1].param_groups[1]["fused"] = True
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    plain.square().sum().backward()
    scaler.scale(scaled.square().sum()).backward()
    optimizers[0].step()
    scaler.step(optimizers[1])
    assert torch.equal(plain, scaled)
    assert torch.equal(
        optimizers[0].state[plain]["exp_avg"], optimizers[1].state[scaled]["exp_avg"]
    )


def test_a_schedule_of_torch_sets_the_rate_of_every_step() -> None:
    param = parameter(start_values())
    optimizer = ThermoLion([param], lr=0.1, noise=False)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    reference = Reference(start_values())
    for step, grad in enumerate(gradients(20)):
        param.grad = torch.tensor(grad)
        optimizer.step()
        schedule.step()
        reference.lr = 0.1 * (1 + math.cos(math.pi * step / 20)) / 2
        reference.step(grad)
    np.testing.assert_allclose(param.detach().numpy(), reference.theta, rtol=1e-9)


def test_hooks_run_before_and_after_the_step() -> None:
    param = parameter(start_values())
    optimizer = ThermoLion([param])
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append(param.detach().clone()))
    optimizer.register_step_post_hook(lambda *_: seen.append(param.detach().clone()))
    run(optimizer, param, gradients(1))
    before, after = seen
    assert torch.equal(before, torch.tensor(start_values()))
    assert torch.equal(after, param.detach())
    assert not torch.equal(before, after)


def _complex() -> nn.Parameter:
    param = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    param.grad = torch.ones_like(param)
    return param


def _sparse() -> nn.Parameter:
    table = nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    return table.weight


@pytest.mark.parametrize(("make", "word"), [(_complex, "complex64"), (_sparse, "sparse")])
def test_gradients_that_are_complex_or_sparse_are_refused_by_name(
    make: Callable[[], nn.Parameter], word: str
) -> None:
    param = make()
    before = param.detach().clone()
    optimizer = ThermoLion([param])
    with pytest.raises(
        RuntimeError, match=f"dense floating-point gradients, got .*{word}.*another"
    ):
        optimizer.step()
    assert torch.equal(param.detach(), before)
    assert not optimizer.state


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            (name, value)
            for name in ("lr", "weight_decay", "eps", "alignment", "solid_gain")
            for value in (-1.0, math.nan, math.inf)
        ],
        *[("temp_decay", value) for value in (0.0, 1.01, -0.5, math.nan)],
        *[
            ("betas", value)
            for value in ((1.0, 0.99), (0.9, 1.0), (-0.1, 0.9), (0.9, math.nan), (0.9,))
        ],
        ("betas", (0.9, 0.99, 0.999)),
    ],
    ids=str,
)
def test_a_hyperparameter_out_of_range_is_refused_with_name_and_value(
    name: str, value: object
) -> None:
    with pytest.raises(ValueError, match=f"^{name} is ") as caught:
        ThermoLion([parameter(start_values())], **{name: value})
    assert repr(value) in str(caught.value)


def test_the_edges_of_the_ranges_are_legal() -> None:
    param = parameter(start_values())
    optimizer = ThermoLion(
        [param],
        lr=0.0,
        betas=(0.0, 0.0),
        temp_decay=1.0,
        weight_decay=0.0,
        alignment=0.0,
        solid_gain=0.0,
    )
    run(optimizer, param, gradients(3))
    assert torch.equal(param.detach(), torch.tensor(start_values()))
