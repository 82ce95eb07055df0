"""MuAdam, Lookahead, both SWATS: their equations in numpy, torch's own classes at limits."""

import copy
import io
import itertools
import math
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from thermolion import registry
from thermolion.lookahead import Lookahead
from thermolion.mu_adam import MuAdam
from thermolion.swats import SWATS
from thermolion.swats_notebook import SWATSNotebook

SHAPES = ((3, 5), (4,))
# With what each has switched or synchronised within twelve steps.
EAGER: dict[str, dict[str, Any]] = {
    "nadam": {},
    "muadam": {"weight_decay": 0.1},
    "lookahead": {"slow_every": 3},
    "swats": {"threshold": 0.05, "lr": 0.01},
    "swats_notebook": {"switch_after": 7},
}


def _gradients(steps: int, seed: int = 0) -> list[list[np.ndarray]]:
    random = np.random.default_rng(seed)
    return [[random.normal(0.3, 1.0, shape) for shape in SHAPES] for _ in range(steps)]


def _start() -> list[np.ndarray]:
    random = np.random.default_rng(99)
    return [random.normal(size=shape) for shape in SHAPES]


def _params(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor(values, dtype=dtype)) for values in _start()]


def _path(
    optimizer: Optimizer, params: list[nn.Parameter], gradients: list[list[np.ndarray]]
) -> Iterator[list[torch.Tensor]]:
    for values in gradients:
        for param, grad in zip(params, values, strict=True):
            param.grad = torch.tensor(grad, dtype=param.dtype)
        optimizer.step()
        yield [param.detach().clone() for param in params]


def _walked(optimizer: Optimizer, params: list[nn.Parameter], steps: int) -> np.ndarray:
    *_, last = _path(optimizer, params, _gradients(steps))
    return torch.cat([param.flatten() for param in last]).numpy()


def _flat(values: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([value.ravel() for value in values])


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_muadam_follows_its_equations(decay: float) -> None:
    params = _params()
    optimizer = MuAdam(params, lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=decay)
    theta = _flat(_start())
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for grads in _gradients(50):
        g = _flat(grads) + decay * theta
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        theta = theta - 0.01 * (0.8 * m + 0.2 * g) / (np.sqrt(v) + 1e-3)
    np.testing.assert_allclose(_walked(optimizer, params, 50), theta, rtol=1e-12)


def test_the_first_step_of_muadam_is_six_learning_rates_long() -> None:
    param = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    param.grad = torch.tensor([4.0], dtype=torch.float64)
    MuAdam([param], lr=0.001, eps=0.0).step()
    assert param.item() == pytest.approx(-0.001 * 0.19 / math.sqrt(0.001), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.5, 0.8])
def test_lookahead_follows_its_equations(alpha: float) -> None:
    params = _params()
    optimizer = Lookahead(params, lr=0.01, slow_every=4, slow_step=alpha, weight_decay=0.1)
    theta = slow = _flat(_start())
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for step, grads in enumerate(_gradients(50), start=1):
        g = _flat(grads) + 0.1 * theta
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        corrected = np.sqrt(v / (1 - 0.999**step)) + 1e-8
        theta = theta - 0.01 * m / (1 - 0.9**step) / corrected
        if step % 4 == 0:
            theta = slow = slow + alpha * (theta - slow)
    np.testing.assert_allclose(_walked(optimizer, params, 50), theta, rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Lookahead, {"slow_step": 1.0, "slow_every": 2}),
        (Lookahead, {"slow_every": 100}),
        (SWATSNotebook, {"switch_after": 30}),
    ],
    ids=["all the way", "never back", "before the switch"],
)
def test_where_it_does_nothing_of_its_own_it_is_torchs_adam_bit_for_bit(
    kind: Any, options: dict[str, Any]
) -> None:
    own, others = _params(torch.float32), _params(torch.float32)
    adam = Adam(others, lr=0.01, weight_decay=0.1)
    extended = kind(own, lr=0.01, weight_decay=0.1, **options)
    assert np.array_equal(_walked(extended, own, 30), _walked(adam, others, 30))


def test_the_notebooks_swats_is_adam_for_300_steps_and_then_sgd() -> None:
    own, others = _params(torch.float32), _params(torch.float32)
    path = _path(SWATSNotebook(own, lr=0.01), own, _gradients(310))
    adam = _path(Adam(others, lr=0.01), others, _gradients(300))
    sgd = _path(SGD(others, lr=0.01), others, _gradients(310)[300:])
    for mine, theirs in zip(path, itertools.chain(adam, sgd), strict=True):
        assert all(map(torch.equal, mine, theirs))


def _swats(
    gradients: list[list[np.ndarray]], lrs: list[float], threshold: float, eps: float
) -> tuple[np.ndarray, int | None]:
    """Algorithm 1 of the paper on one vector; return where it ends and the step of the switch."""
    theta = _flat(_start())
    m, a, v = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    mean, found, at, scale = 0.0, 0, None, 0.0
    for k, (grads, lr) in enumerate(zip(gradients, lrs, strict=True), start=1):
        g = _flat(grads)
        if at is not None:
            v = 0.9 * v + g
            theta = theta - (1 - 0.9) * scale * lr * v
            continue
        m, a = 0.9 * m + 0.1 * g, 0.999 * a + 0.001 * g**2
        p = -lr * np.sqrt(1 - 0.999**k) / (1 - 0.9**k) * m / (np.sqrt(a) + eps)
        theta = theta + p
        if p @ g != 0:
            rate = p @ p / -(p @ g)
            mean, found = 0.999 * mean + 0.001 * rate, found + 1
            corrected = mean / (1 - 0.999**found)
            if found > 1 and abs(corrected - rate) < threshold and corrected > 0:
                at, scale = k, corrected / lr
    return theta, at


@pytest.mark.parametrize("schedule", ["constant", "warm-up and decay"])
def test_swats_follows_its_paper_through_the_switch(schedule: str) -> None:
    steps = 60
    lrs = [0.01 * (1 if schedule == "constant" else min(k / 4, 1 - k / 90)) for k in range(steps)]
    gradients = _gradients(steps, seed=2)
    # Around a switch that comes neither at once nor at the end.
    theta, at = _swats(gradients, lrs, threshold=2e-4, eps=1e-9)
    assert at is not None
    assert 2 < at < steps - 10
    params = _params()
    optimizer = SWATS(params, threshold=2e-4)
    switched = []
    for grads, lr in zip(gradients, lrs, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        list(_path(optimizer, params, [grads]))
        switched.append(optimizer.switched)
    assert switched.index(True) + 1 == at
    np.testing.assert_allclose(
        torch.cat([param.detach().flatten() for param in params]).numpy(), theta, rtol=1e-10
    )


def test_swats_before_its_switch_is_adam() -> None:
    own, others = _params(), _params()
    walked = _walked(SWATS(own, lr=0.01, eps=0.0, threshold=0.0, weight_decay=0.1), own, 40)
    adam = _walked(Adam(others, lr=0.01, eps=0.0, weight_decay=0.1), others, 40)
    np.testing.assert_allclose(walked, adam, rtol=1e-12)


def test_swats_after_its_switch_is_torchs_sgd_of_dampened_steps() -> None:
    own = _params()
    optimizer = SWATS(own, lr=0.01, threshold=10.0)
    path = _path(optimizer, own, _gradients(30))
    while not optimizer.switched:
        next(path)
    scale = optimizer.param_groups[0]["sgd_scale"]
    others = [nn.Parameter(param.detach().clone()) for param in own]
    sgd = SGD(others, lr=0.1 * scale * 0.01, momentum=0.9)
    rest = list(path)
    assert len(rest) == 28
    for mine, theirs in zip(rest, _path(sgd, others, _gradients(30)[2:]), strict=True):
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


def _saved(optimizer: Optimizer) -> Any:
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("name", EAGER)
def test_it_goes_on_with_the_same_bits_from_a_file_a_copy_or_a_pickle_at_any_step(
    name: str,
) -> None:
    gradients = _gradients(12)
    params = _params(torch.float32)
    optimizer = registry.build(name, params, EAGER[name], seed=0)
    path = _path(optimizer, params, gradients)
    kept = []
    for _ in range(12):
        copied = copy.deepcopy((params, optimizer))
        pickled = pickle.loads(pickle.dumps((params, optimizer)))
        loaded = [nn.Parameter(param.detach().clone()) for param in params]
        other = registry.build(name, loaded, {}, seed=0)
        other.load_state_dict(_saved(optimizer))
        kept.append((copied, pickled, (loaded, other)))
        last = next(path)
    for step, ways in enumerate(kept):
        for others, resumed in ways:
            *_, end = _path(resumed, others, gradients[step:])
            assert all(map(torch.equal, end, last))


@pytest.mark.parametrize("name", EAGER)
def test_hooks_closures_and_later_groups_work_as_with_any_optimizer(name: str) -> None:
    first, second, idle = (nn.Parameter(torch.ones(2)) for _ in range(3))
    optimizer = registry.build(name, [first, idle], EAGER[name], seed=0)
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))

    def closure() -> float:
        optimizer.zero_grad()
        loss = (first**2).sum() + (second**2).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert calls == ["before", "after"]
    assert idle not in optimizer.state
    optimizer.add_param_group({"params": [second]})
    for _ in range(12):
        optimizer.step(closure)
    assert first.abs().max() < 1
    assert second.abs().max() < 1
    assert torch.equal(idle.detach(), torch.ones(2))


@pytest.mark.parametrize("name", EAGER)
def test_a_step_that_the_scaler_skips_changes_nothing(name: str) -> None:
    param = nn.Parameter(torch.ones(2))
    optimizer = registry.build(name, [param], EAGER[name], seed=0)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale((param * torch.tensor([1.0, math.inf])).sum()).backward()
    before = copy.deepcopy(optimizer.state_dict())
    scaler.step(optimizer)
    scaler.update()
    assert optimizer.state_dict() == before
    assert torch.equal(param.detach(), torch.ones(2))
    optimizer.zero_grad()
    scaler.scale(param.sum()).backward()
    scaler.step(optimizer)
    assert param.max() < 1


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (MuAdam, "lr", math.nan),
        (MuAdam, "eps", -1.0),
        (MuAdam, "betas", (0.9, 1.0)),
        (MuAdam, "weight_decay", math.inf),
        (Lookahead, "slow_every", 0),
        (Lookahead, "slow_every", 2.0),
        (Lookahead, "slow_step", 0.0),
        (Lookahead, "slow_step", 1.5),
        (SWATS, "threshold", -1.0),
        (SWATSNotebook, "switch_after", True),
    ],
)
def test_a_hyperparameter_out_of_range_is_refused_with_name_and_value(
    kind: Any, name: str, value: object
) -> None:
    with pytest.raises(ValueError, match=f"^{name} is ") as caught:
        kind([nn.Parameter(torch.ones(1))], **{name: value})
    assert repr(value) in str(caught.value)
