"""The step in C on a CPU (`fused=True`): its bits, and how near its own functions are."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import one_pass_steps
import pytest
import torch
from one_pass_steps import compare, everything, train
from torch import Tensor, nn

from thermolion import ThermoLion
from thermolion.step import c_library

OPTIONS: list[dict[str, Any]] = [
    {},
    {"noise": False},
    {"maximize": True, "weight_decay": 0.0},
    {"lr": torch.tensor(0.001), "alignment": 0.3, "solid_gain": 1.7},
    {"capturable": True, "seed": 7},
    {"gate": "local"},
    {"gate": "replicas", "reference_batch": 4},
    {"gate": "replicas", "replicas_feed": "all"},
]


@pytest.mark.parametrize("noise", [False, True])
def test_200_steps_have_the_moments_of_the_for_loop_to_the_bit_and_its_weights_to_1e_6(
    noise: bool,
) -> None:
    compare(200, noise=noise, lr=1e-3, chosen=[0, 3, 6, 7, 9])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_does_what_it_does_in_the_for_loop(options: dict[str, Any]) -> None:
    compare(6, **options)


def test_the_noise_ends_with_the_same_step_and_tensors_may_be_at_several() -> None:
    # One tensor takes its last noisy step after the others: it has missed one.
    compare(9, temp_decay=0.5)
    cold, _ = train(7, fused=True, temp_decay=0.5, noise=False)
    hot, _ = train(7, fused=True, temp_decay=0.5)
    assert not torch.equal(cold[6], hot[6])


@pytest.mark.parametrize("noise", [False, True])
def test_the_bits_are_those_of_one_thread_however_many_there_are(noise: bool) -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(everything(*_two_large(noise)))
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, results[0], results[1]))
    assert all(map(torch.equal, results[0], results[2]))


def _two_large(noise: bool) -> tuple[list[nn.Parameter], Any]:
    """Return steps of two tensors of 97 and 98 rows, whose norms are exact in any order."""
    generator = torch.Generator().manual_seed(3)
    params = [nn.Parameter(torch.randn(97 * 1024 + i, generator=generator)) for i in (0, 5)]
    optimizer = ThermoLion(params, noise=noise, fused=True)
    for _ in range(3):
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator).sign() / 4
        optimizer.step()
    return params, optimizer


@pytest.mark.parametrize("rows", [1, 17, 60])
def test_the_bits_do_not_depend_on_how_many_tensors_are_stepped_between_two_norms(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = everything(*train(3, fused=True))
    monkeypatch.setattr("thermolion.step.one_pass.ROWS_A_RUN", rows)
    assert all(map(torch.equal, everything(*train(3, fused=True)), expected))


@pytest.mark.parametrize("width", ["AVX512", "AVX2"])
def test_the_builds_for_two_widths_of_vectors_give_the_same_bits(
    width: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    best = torch.backends.cpu.get_cpu_capability()
    if best not in c_library.WIDTHS or (best, width) == ("AVX2", "AVX512"):
        pytest.skip(f"needs a processor with {width}, torch finds {best}")
    expected = everything(*train(5, fused=True))
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: width)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    c_library.load_library.cache_clear()
    try:
        found = everything(*train(5, fused=True))
    finally:
        c_library.load_library.cache_clear()
    assert len(list(tmp_path.rglob("*.so"))) == 1
    assert all(map(torch.equal, found, expected))


def test_where_torch_rounds_products_and_sums_apart_so_does_the_step_in_c(tmp_path: Path) -> None:
    environment = os.environ | {
        "ATEN_CPU_CAPABILITY": "default",
        "XDG_CACHE_HOME": str(tmp_path),
        "PYTHONPATH": str(Path(one_pass_steps.__file__).parent),
    }
    command = [sys.executable, one_pass_steps.__file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "OK\n"), done.stderr


def test_the_gate_is_a_hyperbolic_tangent_to_4e_7_and_never_above_one() -> None:
    ratio = torch.cat([torch.linspace(0, 12, 100_001), torch.logspace(-30, 0, 10_000)])
    param = nn.Parameter(torch.zeros_like(ratio))
    optimizer = ThermoLion(
        [param], lr=1.0, weight_decay=0, noise=False, alignment=0, solid_gain=0, fused=True
    )
    param.grad = torch.zeros_like(ratio)
    ones = torch.ones_like(ratio)
    optimizer.state[param].update(
        step=torch.tensor(0.0), exp_avg=ratio.clone(), exp_avg_sq=ones.clone()
    )
    optimizer.step()
    state = optimizer.state[param]
    exact = torch.tanh(state["exp_avg"].double() / (state["exp_avg_sq"].double().sqrt() + 1e-8))
    gate = 1 + param.detach().double()  # the step is that of the sign, times 1 - gate
    gate[state["exp_avg"] == 0] = 0  # which has none
    assert gate.max() <= 1
    assert (gate - exact).abs().max() < 4e-7


def test_draws_are_those_of_the_for_loop_to_the_rounding_of_their_functions() -> None:
    # Beside gradients of 10⁴ the sign is nothing: what is left is the draw of each element.
    generator = torch.Generator().manual_seed(5)
    start = torch.zeros(200 * 1024 + 77)
    signs = torch.randn(start.shape, generator=generator).sign()
    weights = []
    for form in ({"foreach": False}, {"fused": True}):
        param = nn.Parameter(start.clone())
        param.grad = signs * 1e4
        optimizer = ThermoLion([param], lr=1.0, weight_decay=0, solid_gain=0, alignment=0, **form)
        optimizer.step()
        weights.append(param.detach().double())
    scale = 0.99**0.5 * 1e3 * (1 - torch.tanh(torch.tensor(1.0)).item())
    assert weights[0].std() / scale == pytest.approx(1, abs=0.01)
    assert (weights[0] - weights[1]).abs().max() / scale < 5e-6


@pytest.mark.parametrize(
    "made",
    [
        lambda: torch.ones(70, dtype=torch.float64),
        lambda: torch.ones(70, dtype=torch.bfloat16),
        lambda: torch.ones(70, 70)[:, ::2],
    ],
    ids=["float64", "bfloat16", "not dense"],
)
def test_what_the_step_in_c_does_not_take_steps_as_without_fused_beside_the_others(
    made: Any,
) -> None:
    results = []
    for form in ({}, {"fused": True}):
        odd, plain = nn.Parameter(made()), nn.Parameter(torch.ones(70))
        optimizer = ThermoLion([odd, plain], **form)
        for number in range(4):
            generator = torch.Generator().manual_seed(number)
            for param in (odd, plain):
                grad = torch.randn(param.shape, generator=generator)
                param.grad = grad.to(param.dtype)
            optimizer.step()
        state = optimizer.state[odd]
        results.append([odd.detach(), *(state[name] for name in sorted(state))])
        assert optimizer.state[plain]["step"] == 4
    assert all(map(torch.equal, *results))


def test_weights_that_are_given_other_memory_take_their_moments_along() -> None:
    for change in (
        lambda tensor: tensor.to(memory_format=torch.channels_last),
        lambda tensor: tensor.double(),
        lambda tensor: tensor.double().float(),
        lambda tensor: tensor.clone(),
    ):
        results = []
        for form in ({"foreach": False}, {"fused": True}):
            generator = torch.Generator().manual_seed(6)
            param = nn.Parameter(torch.randn(8, 4, 3, 3, generator=generator))
            optimizer = ThermoLion([param], noise=False, **form)
            for step in range(4):
                if step == 2:
                    param.data = change(param.data)
                    for name in ("exp_avg", "exp_avg_sq"):  # as load_state_dict does
                        moment = optimizer.state[param][name]
                        optimizer.state[param][name] = moment.to(param.dtype)
                grad = torch.randn(param.shape, generator=generator)
                param.grad = grad.to(param.dtype)
                optimizer.step()
            results.append((param.detach(), optimizer.state[param]["exp_avg"]))
        torch.testing.assert_close(results[1][0], results[0][0], rtol=0, atol=1e-6)
        assert torch.equal(results[1][1], results[0][1])


def test_moments_of_another_type_are_brought_to_that_of_the_weights() -> None:
    results = []
    for form in ({}, {"fused": True}):
        param = nn.Parameter(torch.ones(3000, dtype=torch.float64))
        optimizer = ThermoLion([param], noise=False, **form)
        param.grad = torch.linspace(-1, 1, 3000, dtype=torch.float64)
        optimizer.step()
        param.grad = None
        param.data = param.data.float()
        param.grad = torch.linspace(-1, 1, 3000)
        optimizer.step()
        results.append((param.detach(), optimizer.state[param]["exp_avg"].float()))
    torch.testing.assert_close(results[1], results[0], rtol=1e-6, atol=1e-6)


def _scaled(fused: bool) -> tuple[nn.Parameter, nn.Parameter, Any]:
    params = [nn.Parameter(torch.linspace(-1, 1, 2000)), nn.Parameter(torch.ones(30).double())]
    optimizer = ThermoLion(params, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=3.0 * 2**10, growth_interval=2)
    for step in range(6):
        optimizer.zero_grad()
        loss = sum((param.float() ** 3).sum() for param in params)
        scaler.scale(loss).backward()
        if step == 3:
            assert params[0].grad is not None
            params[0].grad[5] = torch.inf
        scaler.step(optimizer)
        scaler.update()
    return params[0], params[1], optimizer


def test_a_gradient_scaler_is_obeyed_by_every_parameter_of_a_fused_group() -> None:
    *expected, right = _scaled(fused=False)
    *found, mine = _scaled(fused=True)
    assert mine._step_supports_amp_scaling
    assert not right._step_supports_amp_scaling
    for one, other in zip(expected, found, strict=True):
        assert mine.state[other]["step"] == right.state[one]["step"] == 5
        torch.testing.assert_close(other, one, rtol=0, atol=1e-6)
        for name in ("exp_avg", "exp_avg_sq", "exp_avg_sq_mean"):
            torch.testing.assert_close(mine.state[other][name], right.state[one][name])


def test_a_step_that_finds_infinity_first_leaves_everything_as_it_was() -> None:
    param = nn.Parameter(torch.ones(10))
    optimizer: Any = ThermoLion([param], fused=True)
    param.grad = torch.full((10,), torch.inf)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(2.0), torch.tensor(1.0)
    optimizer.step()
    assert torch.equal(param, torch.ones(10))
    assert optimizer.state[param]["step"] == 0
    assert not optimizer.state[param]["exp_avg"].any()


@pytest.mark.parametrize("fused", [False, True])
def test_a_gradient_of_another_shape_than_its_parameter_is_refused(fused: bool) -> None:
    param = nn.Parameter(torch.ones(5))
    param.grad = torch.ones(5)
    param.data = torch.ones(5000)
    optimizer = ThermoLion([param], fused=fused)
    with pytest.raises(RuntimeError, match=r"shape \(5000,\) and its gradient \(5,\)"):
        optimizer.step()
    assert not optimizer.state


@pytest.mark.parametrize("fused", [False, True])
def test_weights_that_are_views_of_something_negated_move_as_they_read(fused: bool) -> None:
    plain, negated = nn.Parameter(-torch.ones(5)), nn.Parameter(torch._neg_view(torch.ones(5)))
    for param in (plain, negated):
        param.grad = torch.ones(5)
        ThermoLion([param], noise=False, lr=0.1, fused=fused).step()
    torch.testing.assert_close(negated.detach().resolve_neg(), plain.detach())


@pytest.mark.parametrize("fused", [False, True])
def test_a_backward_pass_over_weights_from_before_a_step_is_refused(fused: bool) -> None:
    param = nn.Parameter(torch.ones(5))
    loss = param.square().sum()
    loss.backward(retain_graph=True)
    ThermoLion([param], fused=fused).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_gradients_that_are_views_of_something_negated_count_as_they_read() -> None:
    weights: list[Tensor] = []
    for form in ({"foreach": False}, {"fused": True}):
        param = nn.Parameter(torch.ones(4))
        negated = torch.conj(torch.complex(torch.ones(4), torch.tensor([1.0, -2.0, 3.0, -4.0])))
        param.grad = negated.imag
        assert param.grad.is_neg()
        ThermoLion([param], noise=False, **form).step()
        weights.append(param.detach())
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=1e-7)
