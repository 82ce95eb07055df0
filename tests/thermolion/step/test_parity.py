"""Every form of the step against the equations, written here once more, on the paper's network."""

import copy
import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from published import Published
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from jobs.images import data, models
from jobs.images.evaluate import network_input
from thermolion import ThermoLion

FORMS = {
    "for-loop": {"foreach": False},
    "foreach": {"foreach": True},
    "foreach on lists": {"foreach": True, "capturable": True},
}


class Equations:
    """The equations without noise in plain torch, out of place, one tensor; any float type."""

    def __init__(self, theta: Tensor, lr: float) -> None:
        self.theta, self.lr = theta.clone(), lr
        self.m, self.v = torch.zeros_like(theta), torch.zeros_like(theta)

    def step(self, g: Tensor) -> None:
        self.m = torch.add(self.m * 0.9, g, alpha=1 - 0.9)
        self.v = torch.addcmul(self.v * 0.99, g, g, value=1 - 0.99)
        snr = self.m / (torch.sqrt(self.v) + 1e-8)
        gate = torch.tanh(torch.abs(snr))
        agree = ((self.m > 0) & (g > 0)) | ((self.m < 0) & (g < 0))
        gas = torch.sign(self.m) * torch.where(agree, 1.5, 1.0).to(g.dtype)
        mixed = (1 - gate) * gas + gate * (2 * snr)
        self.theta = torch.add(self.theta * (1 - self.lr * 0.01), mixed, alpha=-self.lr)


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 16), (torch.float64, 8)], ids=str)
def test_500_steps_of_the_papers_network_are_those_of_the_equations_bit_for_bit(
    dtype: torch.dtype, size: int, data_root: Path
) -> None:
    torch.manual_seed(0)
    part = data.load("fashion_mnist", {}, data_root).train
    model = models.ConvNet(1, size, 10).to(dtype)
    names = dict(model.named_parameters())
    start = [param.detach().clone() for param in names.values()]
    equations = [Equations(theta, 1e-3) for theta in start]
    copies = [nn.Parameter(theta.clone()) for theta in start]
    foreach = ThermoLion(model.parameters(), noise=False)
    loop = ThermoLion(copies, noise=False, foreach=False)
    for step in range(500):
        chosen = slice(step * 8, step * 8 + 8)
        images = network_input(part.images[chosen]).to(dtype)[:, :, :: 32 // size, :: 32 // size]
        foreach.zero_grad()
        functional.cross_entropy(model(images), part.labels[chosen]).backward()
        for param, twin, reference in zip(names.values(), copies, equations, strict=True):
            assert param.grad is not None
            twin.grad = param.grad
            reference.step(param.grad)
        foreach.step()
        loop.step()
        if step % 50 == 49 or step < 2:
            for name, twin, reference in zip(names, copies, equations, strict=True):
                param = names[name]
                assert torch.equal(param, reference.theta), (step, name)
                assert torch.equal(twin, reference.theta), (step, name)
                for optimizer, mine in ((foreach, param), (loop, twin)):
                    assert torch.equal(optimizer.state[mine]["exp_avg"], reference.m)
                    assert torch.equal(optimizer.state[mine]["exp_avg_sq"], reference.v)


def _awkward(dtype: torch.dtype) -> list[nn.Parameter]:
    """Parameters around the sizes of chunks and rows, and of every layout."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(), (3,), (0,), (7, 11), (1023,), (1024,), (1025,), (32768,), (32769,), (65537,)]
    shapes += [(64,)] * 3 + [(300, 301), (16, 8, 3, 3), (16, 8, 1, 1)]
    values = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    values[-2] = values[-2].to(memory_format=torch.channels_last)
    values[-1] = values[-1].to(memory_format=torch.channels_last)
    wide = torch.randn(40, 100, generator=generator).to(dtype)
    return [nn.Parameter(value) for value in (*values, wide.t(), wide.clone()[:, ::2])]


def _trained(dtype: torch.dtype, steps: int = 5, **options: Any) -> list[Tensor]:
    """Return parameters and moments after some steps; one parameter lacks a gradient once."""
    params = _awkward(dtype)
    optimizer = ThermoLion(params, lr=1e-2, alignment=0.3, solid_gain=1.7, **options)
    generator = torch.Generator().manual_seed(2)
    for step in range(steps):
        for index, param in enumerate(params):
            grad = torch.randn(param.shape, generator=generator) * 10.0 ** -(index % 5)
            grad[torch.rand(param.shape, generator=generator) < 0.1] = 0
            param.grad = None if (step, index) == (2, 3) else grad.to(dtype)
        optimizer.step()
    moments = [optimizer.state[param][name] for param in params for name in MOMENTS]
    return [param.detach() for param in params] + moments


MOMENTS = ("exp_avg", "exp_avg_sq")


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("form", ["foreach", "foreach on lists"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_size_and_layout_takes_the_same_bits_by_every_form(
    dtype: torch.dtype, form: str, noise: bool
) -> None:
    expected = _trained(dtype, noise=noise, **FORMS["for-loop"])
    actual = _trained(dtype, noise=noise, **FORMS[form])
    assert all(map(torch.equal, actual, expected))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_types_agree_between_forms_to_their_own_accuracy(dtype: torch.dtype) -> None:
    expected = _trained(dtype, **FORMS["for-loop"])
    for form in ("foreach", "foreach on lists"):
        for one, other in zip(_trained(dtype, **FORMS[form]), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("form", FORMS)
def test_a_gate_forced_to_gas_is_descent_along_the_sign_of_the_momentum(form: str) -> None:
    # An ε without bound makes the ratio, and so the gate, nothing.
    param = nn.Parameter(torch.zeros(1000, dtype=torch.float64))
    optimizer = ThermoLion(
        [param], lr=0.5, eps=1e300, alignment=0, noise=False, weight_decay=0, **FORMS[form]
    )
    theta, m = torch.zeros(1000, dtype=torch.float64), torch.zeros(1000, dtype=torch.float64)
    for step in range(20):
        generator = torch.Generator().manual_seed(step)
        param.grad = torch.randn(1000, generator=generator, dtype=torch.float64)
        optimizer.step()
        m = 0.9 * m + (1 - 0.9) * param.grad
        theta -= 0.5 * torch.sign(m)
    assert torch.equal(param.detach(), theta)


@pytest.mark.parametrize("form", FORMS)
def test_a_gate_forced_to_solid_is_the_momentum_over_its_root_mean_square(form: str) -> None:
    # v of a gradient that was large once is made small by hand: the ratio is beyond all bounds.
    param = nn.Parameter(torch.zeros(1000, dtype=torch.float64))
    optimizer = ThermoLion(
        [param], lr=1e-3, betas=(0.9, 0.0), noise=False, weight_decay=0, **FORMS[form]
    )
    m = torch.linspace(30, 90, 1000, dtype=torch.float64)
    param.grad = torch.full((1000,), 1e-3, dtype=torch.float64)
    optimizer.state[param].update(
        step=torch.tensor(0.0), exp_avg=m.clone(), exp_avg_sq=torch.ones_like(m)
    )
    optimizer.step()
    expected = -1e-3 * 2 * (0.9 * m + 0.1 * 1e-3) / (1e-3 + 1e-8)
    torch.testing.assert_close(param.detach(), expected, rtol=1e-12, atol=0)


def test_the_noise_of_a_step_has_the_distribution_of_the_published_class() -> None:
    count = 2**20
    noises = []
    for kind in (ThermoLion, Published):
        torch.manual_seed(0)
        param = nn.Parameter(torch.zeros(count, dtype=torch.float64))
        param.grad = torch.full_like(param, 2.0)
        kind([param], lr=1.0).step()
        noises.append(param.detach())
    mean_square = 0.01 * 4
    gate = math.tanh(0.2 / 0.2)
    drift = (1 - gate) * 1.5 + gate * 2
    width = (1 - gate) * math.sqrt(0.99 * mean_square + 1e-10)
    for noise in noises:
        assert stats.kstest(((noise + drift) / width).numpy(), "norm").pvalue > 1e-4
    assert stats.ks_2samp(*(noise.numpy() for noise in noises)).pvalue > 1e-4


def _saved_and_loaded(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_of_the_published_class_is_gone_on_with(form: str) -> None:
    torch.manual_seed(0)
    params = [nn.Parameter(torch.randn(shape)) for shape in ((40, 30), (30,), ())]
    published = Published(params)
    target = torch.randn(())

    def step() -> None:
        for number, param in enumerate(params):
            param.grad = 2 * (param.detach() - target) * (1 + number)
        published.step()

    for _ in range(459):
        step()
    mine = [nn.Parameter(param.detach().clone()) for param in params]
    optimizer = ThermoLion(mine, seed=4, **FORMS[form])
    optimizer.load_state_dict(_saved_and_loaded(published))
    assert optimizer.param_groups[0]["temp_decay"] == 0.99
    assert optimizer.param_groups[0]["seed"] == 4
    for _ in range(100):
        step()
        for one, other in zip(mine, params, strict=True):
            one.grad = other.grad
        optimizer.step()
        for one, other in zip(mine, params, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_published_checkpoint_from_the_noisy_part_has_its_temperature_and_mean_square() -> None:
    param = nn.Parameter(torch.randn(1000, dtype=torch.float64))
    published = Published([param])
    for _ in range(30):
        param.grad = torch.randn_like(param)
        published.step()
    saved = _saved_and_loaded(published)
    noises = []
    for noise in (True, False):
        mine = nn.Parameter(param.detach().clone())
        optimizer = ThermoLion([mine], noise=noise)
        optimizer.load_state_dict(copy.deepcopy(saved))
        optimizer.param_groups[0]["noise"] = noise
        mine.grad = torch.full_like(mine, 0.5)
        optimizer.step()
        noises.append(mine.detach())
        if noise:
            state = optimizer.state[mine]
            mean = float(state["exp_avg_sq"].mean())
            assert float(state["exp_avg_sq_mean"]) == pytest.approx(mean, rel=1e-12)
            m, v = state["exp_avg"], state["exp_avg_sq"]
    gate = torch.tanh(m.abs() / (v.sqrt() + 1e-8))
    draws = (noises[1] - noises[0]) / (1e-3 * (1 - gate) * math.sqrt(0.99**31 * mean + 1e-10))
    assert stats.kstest(draws.numpy(), "norm").pvalue > 1e-4


def test_a_temperature_that_is_no_power_of_its_decay_is_refused() -> None:
    param = nn.Parameter(torch.randn(3))
    published = Published([param])
    param.grad = torch.ones(3)
    published.step()
    saved = published.state_dict()
    saved["state"][0]["temp"] = 0.5
    with pytest.raises(ValueError, match=r"temp is 0\.5 after step 1.*set temp_decay .* to 0\.5"):
        ThermoLion([param]).load_state_dict(saved)
    del saved["state"][0]["step"]
    with pytest.raises(ValueError, match=r"has m, v, temp and no step"):
        ThermoLion([param]).load_state_dict(saved)


@pytest.mark.parametrize(
    ("steps", "one"), [(400, torch.tensor(1.0)), (80_000, 1.0), (80_000, torch.tensor(1.0))]
)
def test_a_temperature_that_rounding_has_moved_is_no_other_one(steps: int, one: Any) -> None:
    # In the end a product of so many numbers is stuck above zero, where their power is zero.
    temperature = one * 1
    for _ in range(steps):
        temperature = temperature * 0.99
    param = nn.Parameter(torch.randn(3))
    optimizer = ThermoLion([param])
    state = {"m": torch.ones(3), "v": torch.ones(3), "step": steps, "temp": temperature}
    optimizer.load_state_dict({"state": {0: state}, "param_groups": [{"params": [0]}]})
    assert optimizer.state[param]["step"] == steps
