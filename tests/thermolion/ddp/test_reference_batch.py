"""The second moment at a reference batch: known answers, and what world size does to the gate."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from thermolion.step.gates import accumulate_, check_shares, rank_weight, spread_factor


def moments(rank_gradients: Sequence[Tensor], samples: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return G and S as the ranks reduce them, from gradients that DDP would average."""
    mean = torch.stack(list(rank_gradients)).mean(0)
    squares = [rank_weight(samples, r) * g.square() for r, g in enumerate(rank_gradients)]
    return mean, torch.stack(squares).sum(0)


def test_equal_shares_weigh_alike_and_the_reference_spans_from_the_share_to_the_batch() -> None:
    assert [rank_weight([32] * 4, rank) for rank in range(4)] == [0.25] * 4
    assert spread_factor([32] * 4, None) == 1
    assert spread_factor([32] * 4, 32) == 1  # S: the moment of one rank's share
    assert spread_factor([32] * 4, 128) == 0  # G²: that of the whole batch
    local, world, reference = 32, 4, 64
    published = (local / reference - 1 / world) * world / (world - 1)
    assert spread_factor([local] * world, reference) == pytest.approx(published, rel=1e-15)
    assert spread_factor([32] * 4, 256) < 0


def test_a_batch_on_one_rank_tells_nothing_of_its_spread() -> None:
    assert spread_factor([7], 3) == 0
    assert spread_factor([7, 0, 0], 3) == 0
    assert rank_weight([7, 0], 1) == 0


@pytest.mark.parametrize("samples", [[6, 6, 6, 6], [9, 8, 6, 1], [12, 12, 0, 0]], ids=str)
@pytest.mark.parametrize("reference", [1, 6, 24])
def test_the_estimate_is_right_on_average_for_equal_and_unequal_shares(
    samples: list[int], reference: int
) -> None:
    draws, mean, deviation = 50_000, 0.3, 1.7
    rng = np.random.default_rng(0)
    gradients = rng.normal(mean, deviation, (sum(samples), draws))
    parts = np.split(gradients, np.cumsum(samples)[:-1])
    # What DDP averages: the sum over a rank's samples times world size over their whole number.
    ranks = [torch.tensor(part.sum(0) * len(samples) / sum(samples)) for part in parts]
    whole, squares = moments(ranks, samples)
    torch.testing.assert_close(whole, torch.tensor(gradients.mean(0)))

    factor = spread_factor(samples, reference)
    estimate = whole.square() + factor * (squares - whole.square())
    expected = mean**2 + deviation**2 / reference
    error = estimate.std() / draws**0.5
    assert abs(float(estimate.mean()) - expected) < 4 * float(error)


def test_reducing_squares_each_step_equals_reducing_each_ranks_own_second_moment() -> None:
    gradients = torch.randn(50, 4, 30, dtype=torch.float64, generator=_generator())
    reduced = [torch.zeros(30, dtype=torch.float64)]
    own = torch.zeros(4, 30, dtype=torch.float64)
    for ranks in gradients:
        mean, squares = moments(list(ranks), [8] * 4)
        accumulate_(reduced, [mean], [squares], spread_factor([8] * 4, None), beta2=0.99)
        own = 0.99 * own + (1 - 0.99) * ranks.square()
    torch.testing.assert_close(reduced[0], own.mean(0), rtol=1e-13, atol=0)


def test_a_reference_of_the_whole_batch_is_the_moment_of_the_averaged_gradient() -> None:
    grad, squares = torch.randn(30, generator=_generator()), torch.full((30,), 1e6)
    moment, expected = torch.ones(30), torch.ones(30)
    accumulate_([moment], [grad], [squares], spread_factor([8, 8], 16), beta2=0.99)
    expected.mul_(0.99).addcmul_(grad, grad, value=1 - 0.99)
    assert torch.equal(moment, expected)


@pytest.mark.parametrize("samples", [[8], [8, 8, 8], [0, 0], [8, -8], [8, 8.0]], ids=str)
def test_shares_are_one_whole_number_a_rank(samples: list[int]) -> None:
    with pytest.raises(ValueError, match="must be 2 whole numbers"):
        check_shares(samples, 2)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mean_gate(world_size: int, local_batch: int, reference_batch: int | None) -> float:
    """Train a small network on digits over so many shards; return the gate's mean over 60 steps.

    `reference_batch` None stands for the averaged gate. The ranks are simulated: the estimator
    does not care where its gradients come from.
    """
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images / 16 - 0.5, dtype=torch.float32), torch.tensor(labels)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    params = list(model.parameters())
    first, second = ([torch.zeros_like(p) for p in params] for _ in range(2))
    samples = [local_batch] * world_size
    factor = 0.0 if reference_batch is None else spread_factor(samples, reference_batch)
    generator, gates = _generator(), []
    for _ in range(60):
        order = torch.randint(len(images), (sum(samples),), generator=generator)
        ranks = [
            torch.autograd.grad(functional.cross_entropy(model(images[own]), labels[own]), params)
            for own in order.split(local_batch)
        ]
        pairs = [moments(list(of_ranks), samples) for of_ranks in zip(*ranks, strict=True)]
        grads, squares = (list(part) for part in zip(*pairs, strict=True))
        accumulate_(second, grads, squares, factor, beta2=0.99)
        with torch.no_grad():
            for param, m, v, grad in zip(params, first, second, grads, strict=True):
                m.mul_(0.9).add_(grad, alpha=0.1)
                param -= 1e-4 * m.sign()
                gates.append((m.abs() / (v.sqrt() + 1e-8)).tanh().flatten())
    return float(torch.cat(gates).mean())


def test_at_a_fixed_global_batch_the_gate_keeps_to_its_reference_at_any_world_size() -> None:
    gates = [mean_gate(world, 256 // world, reference_batch=32) for world in (2, 4, 8)]
    assert max(gates) / min(gates) < 1.05, gates
    # It is the reference that counts: that of the whole batch is another gate.
    assert mean_gate(4, 64, reference_batch=256) > 1.2 * gates[0]


def test_at_a_fixed_local_batch_the_gate_keeps_to_its_reference_and_the_averaged_one_moves() -> (
    None
):
    gates = [mean_gate(world, 32, reference_batch=32) for world in (2, 4, 8)]
    assert max(gates) / min(gates) < 1.05, gates
    averaged = [mean_gate(world, 32, reference_batch=None) for world in (2, 8)]
    assert averaged[1] > 1.1 * averaged[0]
