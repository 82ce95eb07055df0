"""What each rank sees of squares that a DDP hook reduces, beside what it should see."""

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import (
    allreduce_hook,
    bf16_compress_hook,
)
from torch.nn.parallel import DistributedDataParallel

from thermolion import ThermoLion
from thermolion.ddp.attach import attach
from thermolion.ddp.hooks import SquareExchange
from thermolion.step.gates import rank_weight

LOCAL_BATCH = 2


class Pair:
    """A model under DDP with an exchange on it, and a plain twin that computes every rank's part.

    One layer lies channels-last, and the buckets are small: DDP makes others after the first pass.
    """

    def __init__(self, rank: int, reduce: Any = allreduce_hook, **options: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3)
        ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's own overloads
        self.twin = copy.deepcopy(self.model)
        self.ddp = DistributedDataParallel(self.model, bucket_cap_mb=0.001, **options)
        self.params = list(self.model.parameters())
        self.rank, self.world_size = rank, dist.get_world_size()
        self.exchange = SquareExchange(
            self.ddp.process_group, reduce, self.params, LOCAL_BATCH * self.world_size
        )
        self.ddp.register_comm_hook(None, self.exchange.hook)

    def images(self, passes: int = 1) -> Tensor:
        """Return the same images on every rank, for each pass and rank."""
        return torch.randn(passes, self.world_size, LOCAL_BATCH, 3, 8, 8)

    def backward(self, images: Tensor, scale: float = 1.0) -> None:
        """Accumulate the rank's gradient over all passes; reduce it with the last one."""
        *before, last = images[:, self.rank]
        with self.ddp.no_sync():
            for image in before:
                self._loss(self.ddp, image, len(images), scale).backward()
        self._loss(self.ddp, last, len(images), scale).backward()

    def expected(self, images: Tensor) -> list[Tensor]:
        """Return the mean of squares over ranks of what each accumulates alone."""
        means = [torch.zeros_like(param) for param in self.twin.parameters()]
        for rank in range(self.world_size):
            self.twin.zero_grad()
            for image in images[:, rank]:
                self._loss(self.twin, image, len(images), 1.0).backward()
            for mean, param in zip(means, self.twin.parameters(), strict=True):
                assert param.grad is not None
                mean += param.grad.square() / self.world_size
        return means

    def error(self, images: Tensor) -> float:
        """Return the largest relative error of the squares that the exchange gives now."""
        found, _ = self.exchange.mean_squares(self.params)
        pairs = zip(found, self.expected(images), self.params, strict=True)
        worst = 0.0
        for one, other, param in pairs:
            assert param.grad is not None
            assert one.stride() == param.grad.stride()
            worst = max(worst, float((one - other).abs().max() / other.max()))
        return worst

    def _loss(self, model: nn.Module, images: Tensor, passes: int, scale: float) -> Tensor:
        loss: Tensor = model(images).square().mean() / passes * scale
        return loss


def errors(rank: int) -> dict[str, float]:
    """Return the error of every way to come to a step."""
    found = {}
    for reduce in (allreduce_hook, bf16_compress_hook):
        for view in (False, True):
            name = f"{reduce.__name__}, {'views' if view else 'copies'}"
            pair = Pair(rank, reduce, gradient_as_bucket_view=view)
            for step in range(3):
                images = pair.images()
                pair.model.zero_grad()
                pair.backward(images)
                found[f"{name}, step {step}"] = pair.error(images)
    pair = Pair(rank)
    for what in ("first", "second", "third"):
        images = pair.images(passes=3)
        pair.model.zero_grad()
        pair.backward(images)
        found[f"accumulated, {what}"] = pair.error(images)
    pair.model.zero_grad()
    pair.backward(pair.images())  # a step that is not taken
    images = pair.images(passes=2)
    pair.model.zero_grad()
    pair.backward(images)
    found["after a skipped step"] = pair.error(images)

    images = pair.images()
    pair.model.zero_grad()
    pair.backward(images, scale=2.0**14)
    torch._foreach_mul_([param.grad for param in pair.params], 2.0**-14)
    found["scaled and unscaled"] = pair.error(images)
    return found


def clipped(rank: int) -> tuple[float, float, float]:
    """Return the largest error of S/c² against S, the coefficient c, and the gradient's norm."""
    pair = Pair(rank)
    images = pair.images()
    pair.backward(images)
    norm = float(nn.utils.clip_grad_norm_(pair.params, 1e-3))
    coefficient = 1e-3 / norm
    found, _ = pair.exchange.mean_squares(pair.params)
    worst = 0.0
    for one, other in zip(found, pair.expected(images), strict=True):
        worst = max(worst, float((one / coefficient**2 - other).abs().max() / other.max()))
    return worst, coefficient, norm


def unequal(rank: int) -> tuple[list[list[float]], float]:
    """Return the shares that three steps report, and the error of S of the unequal one."""
    pair = Pair(rank)
    seen: list[list[float]] = []
    error = 0.0
    for samples in (None, [1, 2], None):
        images = pair.images()
        pair.model.zero_grad()
        if samples is not None:
            pair.exchange.shares(samples)
        pair.backward(images)
        squares, reported = pair.exchange.mean_squares(pair.params)
        seen.append(list(reported))
        if samples is not None:
            weights = [rank_weight(samples, other) * 2 for other in range(2)]
            error = _weighted_error(pair, images, weights, squares)
    return seen, error


def _weighted_error(
    pair: Pair, images: Tensor, weights: list[float], squares: list[Tensor]
) -> float:
    expected = [torch.zeros_like(square) for square in squares]
    for other, weight in enumerate(weights):
        pair.twin.zero_grad()
        pair._loss(pair.twin, images[0, other], 1, 1.0).backward()
        for total, param in zip(expected, pair.twin.parameters(), strict=True):
            assert param.grad is not None
            total += param.grad.square() * weight / 2
    return max(
        float((one - other).abs().max()) for one, other in zip(squares, expected, strict=True)
    )


def refusals(rank: int) -> dict[str, str]:
    """Return the message of the error that is raised if there are no squares."""
    pair = Pair(rank)
    pair.backward(pair.images())
    said = {"second pass": said_by(lambda: pair.backward(pair.images()))}
    pair = Pair(rank)
    pair.backward(pair.images())
    pair.exchange.mean_squares(pair.params)
    refused = ThermoLion(pair.params, gate="local")
    said["second hook"] = said_by(lambda: attach(refused, pair.ddp))
    said["a step after it"] = said_by(refused.step)
    said["no DDP, a hook"] = said_by(
        lambda: attach(ThermoLion(pair.params), pair.model, reduce=allreduce_hook)
    )
    said["no DDP"] = said_by(lambda: attach(ThermoLion(pair.params, gate="local"), pair.model))
    said["local, with a hook"] = said_by(
        lambda: attach(ThermoLion(pair.params, gate="local"), pair.ddp, reduce=allreduce_hook)
    )
    said["no global batch"] = said_by(
        lambda: attach(ThermoLion(pair.params, gate="replicas", reference_batch=8), pair.ddp)
    )
    said["second step"] = said_by(lambda: pair.exchange.mean_squares(pair.params))
    return said


def said_by(act: Callable[[], Any]) -> str:
    try:
        act()
    except (RuntimeError, ValueError) as error:
        return str(error)
    return ""
