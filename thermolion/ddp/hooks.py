"""Squared gradients averaged over replicas beside the gradients: a DDP communication hook.

Reduces them and hands them over; knows nothing of what they are used for.

The buckets in which DDP reduces gradients, and room for squares laid out like them.

Every rank's own gradient for its own gate, and the mean over ranks of what comes of it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import GradBucket  # torch.distributed's, which has no type there
from torch.futures import Future

from thermolion.step.gates import check_shares, rank_weight

__all__ = ["GradBucket", "Reduce", "SquareBucket"]

# How DDP averages a bucket of gradients: (process group, bucket) to the averaged buffer.
Reduce = Callable[[Any, GradBucket], Future[Tensor]]


@dataclass(frozen=True)
class SquareBucket:
    """The parameters that DDP reduces together, and room for their squares, used again and again.

    `views` are the parts of `squares` that belong to each parameter, in its own strides.
    """

    parameters: list[Tensor]
    squares: Tensor
    views: list[Tensor]

    @staticmethod
    def like(buffer: Tensor, parameters: list[Tensor]) -> "SquareBucket":
        """Lay out squares as DDP lays out gradients: `bucket.gradients()` loses the strides."""
        dtype = torch.promote_types(buffer.dtype, torch.float32)
        squares, views, offset = torch.empty_like(buffer, dtype=dtype), [], 0
        for parameter in parameters:
            # Those of the parameter if these leave no gaps, else those of a contiguous tensor.
            stride = torch.empty_like(parameter, device="meta").stride()
            views.append(squares.as_strided(parameter.shape, stride, offset))
            offset += parameter.numel()
        return SquareBucket(parameters, squares, views)

    def parts_of(self, buffer: Tensor) -> list[Tensor]:
        begin = buffer.storage_offset()
        return [
            buffer.as_strided(view.shape, view.stride(), begin + view.storage_offset())
            for view in self.views
        ]


# A gradient that clipping has scaled by less than this counts as untouched: norms round, too.
_UNTOUCHED = 1e-5


@dataclass(frozen=True)
class _Sent:
    """A bucket's squares on their way; `norms` are the reduced gradients', once these arrive."""

    bucket: SquareBucket
    work: dist.Work
    norms: list[Tensor]


class SingleRankSquares:
    """The squares of a single process: the mean over its one rank."""

    def __init__(self, global_batch: float) -> None:
        self._usual: Sequence[float] = [global_batch]

    def shares(self, samples: Sequence[int]) -> None:
        check_shares(samples, 1)

    def mean_squares(self, parameters: Sequence[Tensor]) -> tuple[list[Tensor], Sequence[float]]:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        return [_wide(gradient).square() for gradient in gradients], self._usual


class SquareExchange:
    """Average squared gradients over the ranks of a group while the backward pass goes on.

    `global_batch` is shared out equally unless `shares` says otherwise. What `hook` sends is
    waited for in `mean_squares` alone, so the second all-reduce has the rest of the backward pass
    to arrive in.
    """

    def __init__(
        self,
        group: dist.ProcessGroup,
        reduce: Reduce,
        parameters: Iterable[Tensor],
        global_batch: float,
    ) -> None:
        self._group, self._reduce = group, reduce
        self._rank, self._world_size = dist.get_rank(group), dist.get_world_size(group)
        self._usual: Sequence[float] = [global_batch / self._world_size] * self._world_size
        self._next: Sequence[float] = self._usual
        self._samples: Sequence[float] = self._usual
        # By parameter, not by index of the bucket: DDP makes other buckets after the first pass.
        self._sent: dict[Tensor, tuple[_Sent, int]] = {}
        self._buckets: dict[Tensor, SquareBucket] = {}
        for parameter in parameters:
            if parameter.requires_grad:
                parameter.register_hook(  # type: ignore[no-untyped-call]  # torch leaves it so
                    partial(self._refuse_to_add_to, parameter)
                )

    def shares(self, samples: Sequence[int]) -> None:
        """Say how many samples each rank has in the pass to come; it holds for one pass.

        Raises ValueError unless there is a whole number for each rank.
        """
        check_shares(samples, self._world_size)
        self._next = samples

    def hook(self, _state: object, bucket: GradBucket) -> Future[Tensor]:
        """Send a bucket's gradients as `reduce` does, and their squares after them."""
        if bucket.index() == 0:
            self._samples, self._next = self._next, self._usual
        known = self._known(bucket)
        known.squares.copy_(bucket.buffer()).square_()
        known.squares.mul_(rank_weight(self._samples, self._rank))
        future = self._reduce(self._group, bucket)
        work = dist.all_reduce(known.squares, group=self._group, async_op=True)
        assert work is not None  # it is not, for a member of the group
        sent = _Sent(known, work, norms=[])
        for index, parameter in enumerate(known.parameters):
            self._sent[parameter] = (sent, index)

        def note_norms(reduced: Future[Tensor]) -> Tensor:
            sent.norms.extend(_norms(known.parts_of(reduced.value())))
            return reduced.value()

        return future.then(note_norms)

    def _known(self, bucket: GradBucket) -> SquareBucket:
        parameters, buffer = bucket.parameters(), bucket.buffer()
        known = self._buckets.get(parameters[0])
        if known is None or list(map(id, known.parameters)) != list(map(id, parameters)):
            known = self._buckets[parameters[0]] = SquareBucket.like(buffer, parameters)
        return known

    def mean_squares(self, parameters: Sequence[Tensor]) -> tuple[list[Tensor], Sequence[float]]:
        """Return S of each parameter, in the scale of its `grad`, and the samples of each rank.

        Unscaling and clipping multiply the gradient after it is reduced; the ratio of its norms
        now and then tells by how much, and the square of that scales its squares. Valid until the
        next backward pass; a second call without one in between raises RuntimeError.
        """
        missing = [parameter for parameter in parameters if parameter not in self._sent]
        if missing:
            raise RuntimeError(
                f"no squared gradients for {len(missing)} of {len(parameters)} parameters (the "
                f"first has shape {tuple(missing[0].shape)}): before each step, run one backward "
                "pass through the DistributedDataParallel module and outside of `no_sync()`"
            )
        squares, then = [], []
        for parameter in parameters:
            sent, index = self._sent[parameter]
            sent.work.wait()
            squares.append(sent.bucket.views[index])
            then.append(sent.norms[index])
        if squares:
            gradients = [p.grad for p in parameters if p.grad is not None]
            now = _norms(gradients)
            torch._foreach_mul_(squares, [ratio.square() for ratio in _ratios(now, then)])
        self._discard()
        return squares, self._samples

    def _discard(self) -> None:
        """Forget what was sent; what is under way may not be written to, so wait for it."""
        sent = {id(one): one for one, _ in self._sent.values()}.values()
        for one in sent:
            one.work.wait()
        if sent:  # buckets that DDP has made anew leave no memory behind
            self._buckets = {one.bucket.parameters[0]: one.bucket for one in sent}
        self._sent.clear()

    def _refuse_to_add_to(self, parameter: Tensor, _gradient: Tensor) -> None:
        """Raise RuntimeError if a reduced gradient is about to be added to.

        The squares of the sum over micro-batches cannot be had from those of its terms.
        """
        if parameter not in self._sent:
            return
        if parameter.grad is not None and parameter.grad.any():
            raise RuntimeError(
                "a second backward pass adds to gradients that are already reduced, and "
                'gate="replicas" cannot: run all passes of a step but the last one under '
                "`no_sync()`, and clear the gradients of a step that is not taken"
            )
        self._discard()  # that step was not taken, and its gradients were cleared


def _wide(gradient: Tensor) -> Tensor:
    """Return a gradient in single precision at least, where its square overflows no half type."""
    return gradient.to(torch.promote_types(gradient.dtype, torch.float32))


def _norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the 1-norm of each tensor, at least in single precision; no square overflows it."""
    widest = max((tensor.dtype for tensor in tensors), key=lambda dtype: dtype.itemsize)
    dtype = torch.promote_types(widest, torch.float32)
    return list(torch._foreach_norm(list(tensors), 1, dtype))


def _ratios(now: Sequence[Tensor], then: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return now / then; 1 where both are as good as equal, and where there was no gradient."""
    before = torch.stack(list(then))
    ratio = torch.stack(list(now)) / before
    untouched = ((ratio - 1).abs() < _UNTOUCHED) | (before == 0)
    return ratio.masked_fill(untouched, 1.0).unbind()


_CHUNK = 1 << 22  # elements reduced at a time


class LocalGradients:
    """Leave gradients as each rank has them; average updates instead.

    `hook` is a DDP communication hook that sends no gradient. A rank whose gradient is not finite
    makes the last bucket of every other rank NaN, too: a GradScaler then skips the step on all of
    them, or the ranks that take it would wait for the others for ever.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self._group = group
        self._broken: Tensor | None = None

    def hook(self, _state: object, bucket: GradBucket) -> Future[Tensor]:
        """Return the bucket as it is; with the last one, agree on whether all are finite."""
        buffer = bucket.buffer()
        broken = buffer.isfinite().all().logical_not().to(torch.int32).view(1)
        if bucket.index() > 0 and self._broken is not None:
            broken = broken.to(self._broken.device).maximum(self._broken)
        self._broken = broken
        if not bucket.is_last():
            unchanged: Future[Tensor] = Future()
            unchanged.set_result(buffer)
            return unchanged
        work = dist.all_reduce(broken, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        assert work is not None  # it is not, for a member of the group

        def spoilt(agreed: Future[list[Tensor]]) -> Tensor:
            return buffer.masked_fill_(agreed.value()[0].bool(), float("nan"))

        finite: Future[Tensor] = work.get_future().then(spoilt)
        return finite

    def average_(self, updates: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the ranks, which all have the same ones."""
        by_type: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for update in updates:
            by_type.setdefault((update.dtype, update.device), []).append(update)
        for alike in by_type.values():
            flat = torch.cat([update.reshape(-1) for update in alike])
            flat /= dist.get_world_size(self._group)
            works = [
                dist.all_reduce(part, group=self._group, async_op=True)
                for part in torch.split(flat, _CHUNK)
            ]
            for work in works:
                assert work is not None  # it is not, for a member of the group
                work.wait()
            means = torch.split(flat, [update.numel() for update in alike])
            for update, mean in zip(alike, means, strict=True):
                update.copy_(mean.view(update.shape))
