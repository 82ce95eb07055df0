"""ThermoLion against the paper's equations in plain numpy, and as a citizen of torch.optim."""

import copy
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from thermolion import ThermoLion
from thermolion.noise import standard_normal

Array = NDArray[np.float64]

SHAPE = (4, 3)
LAST_NOISY_STEP = 458  # at a decay of 0.99 (paper)


@dataclass
class Reference:
    """The method as the paper writes it, float64, one array; `xi` are the draws of a step."""

    theta: Array
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.99
    temp_decay: float = 0.99
    weight_decay: float = 0.01
    eps: float = 1e-8
    alignment: float = 0.5
    solid_gain: float = 2.0

    def __post_init__(self) -> None:
        self.heat = 1.0
        self.m = np.zeros_like(self.theta)
        self.v = np.zeros_like(self.theta)

    def step(self, g: Array, xi: Array | None = None) -> None:
        self.heat = self.heat * self.temp_decay
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        rho = np.abs(self.m) / (np.sqrt(self.v) + self.eps)
        gate = np.tanh(rho)
        aligned = np.clip(np.sign(self.m) * np.sign(g), 0, 1)
        gas = np.sign(self.m) * (1 + self.alignment * aligned)
        solid = self.solid_gain * self.m / (np.sqrt(self.v) + self.eps)
        update = self.lr * ((1 - gate) * gas + gate * solid)
        if xi is not None and self.heat > 0.01:
            scale = np.sqrt(self.heat * np.mean(self.v) + 1e-10)
            update = update + self.lr * (1 - gate) * xi * scale
        self.theta = self.theta * (1 - self.lr * self.weight_decay) - update


def _gradients(steps: int, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Array:
    """Return (steps, *shape): columns of other scale; the first column is zero for ten steps."""
    grads = np.random.default_rng(seed).normal(0.1, 1.0, (steps, *shape))
    grads *= np.logspace(-3, 1, shape[-1])
    grads[:10, ..., 0] = 0
    return grads


def _start(seed: int = 1, shape: tuple[int, ...] = SHAPE) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def _parameter(values: Array) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def _run(optimizer: torch.optim.Optimizer, param: nn.Parameter, grads: Array) -> None:
    for grad in grads:
        param.grad = torch.tensor(grad, dtype=param.dtype)
        optimizer.step()


def _trained(steps: int = 20, **options: Any) -> Tensor:
    param = _parameter(_start())
    _run(ThermoLion([param], **options), param, _gradients(steps))
    return param.detach()


def _draws(seed: int, step: int, param_id: int = 0) -> Array:
    like = torch.empty(SHAPE, dtype=torch.float64)
    return standard_normal(like, seed, step, param_id).numpy()


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
    param = _parameter(_start())
    optimizer = ThermoLion([param], noise=False, **options)
    named = dict(options)
    if "betas" in named:
        named["beta1"], named["beta2"] = named.pop("betas")
    reference = Reference(_start(), **named)
    for grad in _gradients(300):
        param.grad = torch.tensor(grad)
        optimizer.step()
        reference.step(grad)
        np.testing.assert_allclose(param.detach().numpy(), reference.theta, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("temp_decay", [0.99, 0.9, 1.0])
def test_steps_with_noise_follow_the_equations_on_the_same_draws(temp_decay: float) -> None:
    param = _parameter(_start())
    optimizer = ThermoLion([param], lr=0.01, seed=5, temp_decay=temp_decay)
    reference = Reference(_start(), lr=0.01, temp_decay=temp_decay)
    quiet = Reference(_start(), lr=0.01)
    for step, grad in enumerate(_gradients(LAST_NOISY_STEP + 40), start=1):
        param.grad = torch.tensor(grad)
        optimizer.step()
        reference.step(grad, _draws(seed=5, step=step))
        quiet.step(grad)
        np.testing.assert_allclose(param.detach().numpy(), reference.theta, rtol=1e-11, atol=1e-13)
    assert np.abs(reference.theta - quiet.theta).min() > 1e-6  # the noise was worth comparing


def test_single_precision_follows_the_equations_to_its_own_accuracy() -> None:
    param = nn.Parameter(torch.tensor(_start(), dtype=torch.float32))
    reference = Reference(_start())
    optimizer = ThermoLion([param], noise=False)
    for grad in _gradients(30):
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
    params = [_parameter(_start()), _parameter(_start())]
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
    assert torch.equal(_trained(noise=False, seed=1), _trained(noise=False, seed=2))
    assert not torch.equal(_trained(noise=False), _trained())


def test_equal_seeds_give_equal_bits_and_other_seeds_other_bits() -> None:
    assert torch.equal(_trained(seed=3), _trained(seed=3))
    assert not torch.equal(_trained(seed=3), _trained(seed=4))


def test_the_noise_neither_moves_nor_follows_the_global_generator() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = _trained()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(_trained(), first)


def test_equal_parameters_at_other_places_get_other_noise() -> None:
    one, other = _parameter(_start()), _parameter(_start())
    optimizer = ThermoLion([one, other])
    for param in (one, other):
        param.grad = torch.ones_like(param)
    optimizer.step()
    assert not torch.equal(one, other)


def test_noise_is_drawn_anew_for_every_step_and_every_key() -> None:
    like = torch.empty(SHAPE, dtype=torch.float64)
    keys = [(0, 1, 0), (0, 2, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1), (11, 1, 0), (1, 11, 0)]
    draws = [standard_normal(like, *key) for key in keys]
    assert torch.equal(draws[0], standard_normal(like, *keys[0]))
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == len(keys)


def test_noise_is_standard_normal_over_steps_and_within_a_tensor() -> None:
    within = standard_normal(torch.empty(200_000, dtype=torch.float64), 7, 1, 0)
    over = torch.cat([standard_normal(torch.empty(1), 7, step, 0) for step in range(4000)])
    for draws in (within, over):
        root = len(draws) ** 0.5
        assert abs(draws.mean().item()) < 5 / root
        assert abs(draws.var().item() - 1) < 5 * 2**0.5 / root
        assert abs((draws**4).mean().item() - 3) < 5 * 96**0.5 / root


def test_the_noise_of_a_parameter_is_the_same_whoever_else_has_a_gradient() -> None:
    def second(first_has_a_gradient: bool, split: bool) -> Tensor:
        params = [_parameter(_start(2)), _parameter(_start())]
        groups: Sequence[Any] = [{"params": [param]} for param in params] if split else params
        optimizer = ThermoLion(groups)
        for grad in _gradients(5):
            params[0].grad = torch.tensor(grad) if first_has_a_gradient else None
            params[1].grad = torch.tensor(grad)
            optimizer.step()
        return params[1].detach()

    expected = second(first_has_a_gradient=True, split=False)
    assert torch.equal(second(first_has_a_gradient=False, split=False), expected)
    assert torch.equal(second(first_has_a_gradient=True, split=True), expected)


def test_a_parameter_without_a_gradient_stays_and_its_clock_stands_still() -> None:
    late, always = _parameter(_start()), _parameter(_start(2))
    optimizer = ThermoLion([late, always])
    _run(optimizer, always, _gradients(3))
    assert torch.equal(late.detach(), torch.tensor(_start()))
    assert late not in optimizer.state
    always.grad = None
    _run(optimizer, late, _gradients(20))
    assert torch.equal(late.detach(), _trained(20))


def test_a_saved_state_resumes_to_the_same_bits_noise_included() -> None:
    grads = _gradients(40)
    straight = _parameter(_start())
    _run(ThermoLion([straight], seed=9, lr=0.01), straight, grads)

    before = _parameter(_start())
    optimizer = ThermoLion([before], seed=9, lr=0.01)
    _run(optimizer, before, grads[:15])
    file = io.BytesIO()
    torch.save({"param": before.detach(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    torch.manual_seed(123)
    saved = torch.load(file, weights_only=True)

    after = nn.Parameter(saved["param"].clone())
    resumed = ThermoLion([after])
    resumed.load_state_dict(saved["optimizer"])
    _run(resumed, after, grads[15:])
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


def test_a_deep_copy_goes_its_own_way_and_to_the_same_place() -> None:
    grads = _gradients(20)
    param = _parameter(_start())
    optimizer = ThermoLion([param])
    _run(optimizer, param, grads[:10])
    twin, twin_optimizer = copy.deepcopy((param, optimizer))
    at_the_fork = param.detach().clone()
    _run(twin_optimizer, twin, grads[10:])
    assert torch.equal(param, at_the_fork)
    _run(optimizer, param, grads[10:])
    assert torch.equal(param, twin)


def test_a_closure_is_called_with_gradients_on_and_its_loss_is_returned() -> None:
    param = _parameter(_start())
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
    params = [_parameter(_start()), _parameter(_start(2))]
    optimizer = ThermoLion(
        [{"params": params[0], "lr": 0.02}, {"params": params[1], "weight_decay": 0.5}], seed=3
    )
    references = [Reference(_start(), lr=0.02), Reference(_start(2), weight_decay=0.5)]
    for step, grad in enumerate(_gradients(20), start=1):
        for param_id, (param, reference) in enumerate(zip(params, references, strict=True)):
            param.grad = torch.tensor(grad)
            reference.step(grad, _draws(seed=3, step=step, param_id=param_id))
        optimizer.step()
    for param, reference in zip(params, references, strict=True):
        np.testing.assert_allclose(param.detach().numpy(), reference.theta, rtol=1e-11)


def test_a_group_added_later_takes_the_next_places() -> None:
    at_once = [_parameter(_start()), _parameter(_start())]
    later = [_parameter(_start()), _parameter(_start())]
    together, grown = ThermoLion(at_once), ThermoLion(later[:1])
    grown.add_param_group({"params": later[1:]})
    for optimizer, params in ((together, at_once), (grown, later)):
        for param in params:
            param.grad = torch.ones_like(param)
        optimizer.step()
    assert torch.equal(at_once[0], later[0])
    assert torch.equal(at_once[1], later[1])


def test_a_schedule_of_torch_sets_the_rate_of_every_step() -> None:
    param = _parameter(_start())
    optimizer = ThermoLion([param], lr=0.1, noise=False)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    reference = Reference(_start())
    for step, grad in enumerate(_gradients(20)):
        param.grad = torch.tensor(grad)
        optimizer.step()
        schedule.step()
        reference.lr = 0.1 * (1 + math.cos(math.pi * step / 20)) / 2
        reference.step(grad)
    np.testing.assert_allclose(param.detach().numpy(), reference.theta, rtol=1e-9)


def test_hooks_run_before_and_after_the_step() -> None:
    param = _parameter(_start())
    optimizer = ThermoLion([param])
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append(param.detach().clone()))
    optimizer.register_step_post_hook(lambda *_: seen.append(param.detach().clone()))
    _run(optimizer, param, _gradients(1))
    before, after = seen
    assert torch.equal(before, torch.tensor(_start()))
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
    with pytest.raises(RuntimeError, match=f"dense real gradients, got .*{word}.*use another"):
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
        ThermoLion([_parameter(_start())], **{name: value})
    assert repr(value) in str(caught.value)


def test_the_edges_of_the_ranges_are_legal() -> None:
    param = _parameter(_start())
    optimizer = ThermoLion(
        [param],
        lr=0.0,
        betas=(0.0, 0.0),
        temp_decay=1.0,
        weight_decay=0.0,
        alignment=0.0,
        solid_gain=0.0,
    )
    _run(optimizer, param, _gradients(3))
    assert torch.equal(param.detach(), torch.tensor(_start()))
