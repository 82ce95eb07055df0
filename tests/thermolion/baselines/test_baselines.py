"""Lion against the equations of its paper, and every registered optimizer down a valley."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from thermolion import Lion, registry

SHAPE = (3, 5)
# Down the valley: half of each way that Lookahead goes is taken back.
RATES = {"lookahead": 0.04}


def test_package_exports_lion_by_name() -> None:
    from thermolion.baselines import lion

    assert Lion is lion.Lion


@pytest.mark.parametrize(
    "options",
    [{}, {"lr": 0.01, "weight_decay": 0.3}, {"betas": (0.5, 0.7)}, {"betas": (0.0, 0.9)}],
    ids=str,
)
def test_lion_follows_its_equations_over_many_steps(options: dict[str, Any]) -> None:
    lr, decay = options.get("lr", 1e-4), options.get("weight_decay", 0.0)
    beta1, beta2 = options.get("betas", (0.9, 0.99))
    random = np.random.default_rng(0)
    theta = random.normal(size=SHAPE)
    momentum = np.zeros(SHAPE)
    param = nn.Parameter(torch.tensor(theta))
    optimizer = Lion([param], **options)
    for _ in range(200):
        grad = random.normal(0.1, 1.0, SHAPE)
        param.grad = torch.tensor(grad)
        optimizer.step()
        interpolated = beta1 * momentum + (1 - beta1) * grad
        theta = theta - lr * (np.sign(interpolated) + decay * theta)
        momentum = beta2 * momentum + (1 - beta2) * grad
    np.testing.assert_allclose(param.detach().numpy(), theta, rtol=1e-12, atol=1e-14)


def test_lion_stands_still_without_a_gradient() -> None:
    idle, flat = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = Lion([idle, flat], lr=0.1)
    flat.grad = torch.zeros(3)
    optimizer.step()
    assert torch.equal(idle.detach(), torch.ones(3))
    assert torch.equal(flat.detach(), torch.ones(3))
    assert idle not in optimizer.state


def test_lion_returns_the_loss_of_a_closure_run_with_gradients_on() -> None:
    param = nn.Parameter(torch.tensor([2.0]))
    optimizer = Lion([param], lr=0.5)

    def closure() -> float:
        loss = (param**2).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert param.item() == 1.5


@pytest.mark.parametrize("scheduled", [False, True], ids=["constant", "cosine"])
@pytest.mark.parametrize("name", registry.OPTIMIZERS)
def test_every_registered_optimizer_walks_down_a_convex_valley(name: str, scheduled: bool) -> None:
    random = torch.Generator().manual_seed(0)
    features = torch.randn(64, 6, generator=random)
    truth = torch.linspace(-1, 1, 6)
    weights = nn.Parameter(torch.zeros(6))
    optimizer = registry.build(name, [weights], {"lr": RATES.get(name, 0.02)}, seed=0, steps=300)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=300)

    def loss() -> torch.Tensor:
        return ((features @ (weights - truth)) ** 2).mean()

    start = loss().item()
    for _ in range(300):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        if scheduled:
            schedule.step()
    assert loss().item() < 0.01 * start
    assert (weights.detach() - truth).abs().max() < 0.1
