"""MuAdam, Lookahead, both SWATS: their equations in numpy, torch's own classes at limits."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from paths import drawn_gradients, new_params, start_arrays, walk
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from thermolion.baselines.lookahead import Lookahead
from thermolion.baselines.muadam import MuAdam
from thermolion.baselines.swats import SWATS, SWATSNotebook


def _walked(optimizer: Optimizer, params: list[nn.Parameter], steps: int) -> np.ndarray:
    *_, last = walk(optimizer, params, drawn_gradients(steps))
    return torch.cat([param.flatten() for param in last]).numpy()


def _flat(values: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([value.ravel() for value in values])


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_muadam_follows_its_equations(decay: float) -> None:
    params = new_params()
    optimizer = MuAdam(params, lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=decay)
    theta = _flat(start_arrays())
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for grads in drawn_gradients(50):
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
    params = new_params()
    optimizer = Lookahead(params, lr=0.01, slow_every=4, slow_step=alpha, weight_decay=0.1)
    theta = slow = _flat(start_arrays())
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for step, grads in enumerate(drawn_gradients(50), start=1):
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
def test_with_nothing_of_its_own_to_do_it_is_torchs_adam_bit_for_bit(
    kind: Any, options: dict[str, Any]
) -> None:
    own, others = new_params(torch.float32), new_params(torch.float32)
    adam = Adam(others, lr=0.01, weight_decay=0.1)
    extended = kind(own, lr=0.01, weight_decay=0.1, **options)
    assert np.array_equal(_walked(extended, own, 30), _walked(adam, others, 30))


def test_the_notebooks_swats_is_adam_for_300_steps_and_then_sgd() -> None:
    own, others = new_params(torch.float32), new_params(torch.float32)
    path = walk(SWATSNotebook(own, lr=0.01), own, drawn_gradients(310))
    adam = walk(Adam(others, lr=0.01), others, drawn_gradients(300))
    sgd = walk(SGD(others, lr=0.01), others, drawn_gradients(310)[300:])
    for mine, theirs in zip(path, itertools.chain(adam, sgd), strict=True):
        assert all(map(torch.equal, mine, theirs))


def _swats(
    gradients: list[list[np.ndarray]], lrs: list[float], threshold: float, eps: float
) -> tuple[np.ndarray, int | None]:
    """Algorithm 1 of the paper on one vector; return where it ends and the step of the switch."""
    theta = _flat(start_arrays())
    m, a, v = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    mean, count, at, scale = 0.0, 0, None, 0.0
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
            mean, count = 0.999 * mean + 0.001 * rate, count + 1
            corrected = mean / (1 - 0.999**count)
            if count > 1 and abs(corrected - rate) < threshold and corrected > 0:
                at, scale = k, corrected / lr
    return theta, at


@pytest.mark.parametrize("schedule", ["constant", "warm-up and decay"])
def test_swats_follows_its_paper_through_the_switch(schedule: str) -> None:
    steps = 60
    lrs = [0.01 * (1 if schedule == "constant" else min(k / 4, 1 - k / 90)) for k in range(steps)]
    gradients = drawn_gradients(steps, seed=2)
    # Around a switch that comes neither at once nor at the end.
    theta, at = _swats(gradients, lrs, threshold=2e-4, eps=1e-9)
    assert at is not None
    assert 2 < at < steps - 10
    params = new_params()
    optimizer = SWATS(params, threshold=2e-4)
    switched = []
    for grads, lr in zip(gradients, lrs, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        list(walk(optimizer, params, [grads]))
        switched.append(optimizer.switched)
    assert switched.index(True) + 1 == at
    np.testing.assert_allclose(
        torch.cat([param.detach().flatten() for param in params]).numpy(), theta, rtol=1e-10
    )


def test_swats_before_its_switch_is_adam() -> None:
    own, others = new_params(), new_params()
    walked = _walked(SWATS(own, lr=0.01, eps=0.0, threshold=0.0, weight_decay=0.1), own, 40)
    adam = _walked(Adam(others, lr=0.01, eps=0.0, weight_decay=0.1), others, 40)
    np.testing.assert_allclose(walked, adam, rtol=1e-12)


def test_swats_after_its_switch_is_torchs_sgd_of_dampened_steps() -> None:
    own = new_params()
    optimizer = SWATS(own, lr=0.01, threshold=10.0)
    path = walk(optimizer, own, drawn_gradients(30))
    while not optimizer.switched:
        next(path)
    scale = optimizer.param_groups[0]["sgd_scale"]
    others = [nn.Parameter(param.detach().clone()) for param in own]
    sgd = SGD(others, lr=0.1 * scale * 0.01, momentum=0.9)
    rest = list(path)
    assert len(rest) == 28
    for mine, theirs in zip(rest, walk(sgd, others, drawn_gradients(30)[2:]), strict=True):
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=0)
