"""DDP communication hooks for a gate: squares averaged over ranks, or gradients left on each rank.

`SquareExchange` averages squared gradients beside the gradients; `LocalGradients` leaves every
rank its own gradient and averages updates. What for, is up to `step.gates`.
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
    """The parameters that DDP reduces together, and a buffer for their squares, which is reused.

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
        """Return the views of a buffer of the same layout that belong to each parameter."""
        begin = buffer.storage_offset()
        return [
            buffer.as_strided(view.shape, view.stride(), begin + view.storage_offset())
            for view in self.views
        ]


# A gradient that clipping has scaled by less than this counts as untouched: norms round, too.
_UNTOUCHED = 1e-5


@dataclass(frozen=True)
class _Sent:
    """The squares of a bucket in an all-reduce; `norms` are of its gradients, once reduced."""

    bucket: SquareBucket
    work: dist.Work
    norms: list[Tensor]


class SingleRankSquares:
    """The squares of a single process, which are their own mean over ranks."""

    def __init__(self, global_batch: float) -> None:
        self._equal_shares: Sequence[float] = [global_batch]

    def shares(self, samples: Sequence[int]) -> None:
        check_shares(samples, 1)

    def mean_squares(self, parameters: Sequence[Tensor]) -> tuple[list[Tensor], Sequence[float]]:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        return [_wide(gradient).square() for gradient in gradients], self._equal_shares


class SquareExchange:
    """Average squared gradients over the ranks of a group while the backward pass goes on.

    `global_batch` is shared out equally unless `shares` says otherwise. Only
    `mean_squares` waits for what `hook` sends, so that the second all-reduce overlaps with the
    rest of the backward pass.
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
        self._equal_shares: Sequence[float] = [global_batch / self._world_size] * self._world_size
        self._next: Sequence[float] = self._equal_shares
        self._samples: Sequence[float] = self._equal_shares
        # By parameter, not by index of the bucket: DDP makes other buckets after the first pass.
        self._sent: dict[Tensor, tuple[_Sent, int]] = {}
        self._buckets: dict[Tensor, SquareBucket] = {}
        for parameter in parameters:
            if parameter.requires_grad:
                parameter.register_hook(  # type: ignore[no-untyped-call]  # torch leaves it so
                    partial(self._refuse_to_add_to, parameter)
                )

    def shares(self, samples: Sequence[int]) -> None:
        """Set how many samples each rank has in the next pass, for that pass alone.

        Raises ValueError unless there is a whole number for each rank.
        """
        check_shares(samples, self._world_size)
        self._next = samples

    def hook(self, _state: object, bucket: GradBucket) -> Future[Tensor]:
        """Send a bucket's gradients as `reduce` does, and their squares after them."""
        if bucket.index() == 0:
            self._samples, self._next = self._next, self._equal_shares
        known = self._find_bucket(bucket)
        known.squares.copy_(bucket.buffer()).square_()
        known.squares.mul_(rank_weight(self._samples, self._rank))
        future = self._reduce(self._group, bucket)
        work = _start_all_reduce(known.squares, self._group)
        sent = _Sent(known, work, norms=[])
        for index, parameter in enumerate(known.parameters):
            self._sent[parameter] = (sent, index)

        def note_norms(reduced: Future[Tensor]) -> Tensor:
            sent.norms.extend(_norms(known.parts_of(reduced.value())))
            return reduced.value()

        return future.then(note_norms)

    def _find_bucket(self, bucket: GradBucket) -> SquareBucket:
        parameters, buffer = bucket.parameters(), bucket.buffer()
        known = self._buckets.get(parameters[0])
        if known is None or list(map(id, known.parameters)) != list(map(id, parameters)):
            known = self._buckets[parameters[0]] = SquareBucket.like(buffer, parameters)
        return known

    def mean_squares(self, parameters: Sequence[Tensor]) -> tuple[list[Tensor], Sequence[float]]:
        """Return S of each parameter, in the scale of its `grad`, and the samples of each rank.

        Unscaling and clipping multiply the gradient after it is reduced; the ratio of its norms
        after and before tells by how much, and the square of that scales its squares. Valid until
        the next backward pass; a second call without one in between raises RuntimeError.
        """
        unsent = [parameter for parameter in parameters if parameter not in self._sent]
        # Gradients of zero are no pass: torch's get_optimizer_state_dict sets them for a state.
        missing = [one for one in unsent if one.grad is not None and one.grad.any()]
        if missing:
            raise RuntimeError(
                f"no squared gradients for {len(missing)} of {len(parameters)} parameters (the "
                f"first has shape {tuple(missing[0].shape)}): before each step, run one backward "
                "pass through the DistributedDataParallel module and outside of `no_sync()`"
            )
        squares = {parameter: torch.zeros_like(_wide(parameter)) for parameter in unsent}
        sent = [parameter for parameter in parameters if parameter in self._sent]
        before = []
        for parameter in sent:
            one, index = self._sent[parameter]
            one.work.wait()
            squares[parameter] = one.bucket.views[index]
            before.append(one.norms[index])
        if sent:
            now = _norms([p.grad for p in sent if p.grad is not None])
            factors = [ratio.square() for ratio in _ratios(now, before)]
            torch._foreach_mul_([squares[parameter] for parameter in sent], factors)
        self._discard()
        return [squares[parameter] for parameter in parameters], self._samples

    def _discard(self) -> None:
        """Forget what was sent, after waiting: a buffer in an all-reduce must not change."""
        sent = {id(one): one for one, _ in self._sent.values()}.values()
        for one in sent:
            one.work.wait()
        if sent:  # frees the buffers of buckets that DDP has rebuilt
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


def _start_all_reduce(
    tensor: Tensor, group: dist.ProcessGroup, op: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM
) -> dist.Work:
    work: dist.Work | None = dist.all_reduce(tensor, op=op, group=group, async_op=True)
    assert work is not None  # it is not, for a member of the group
    return work


def _wide(gradient: Tensor) -> Tensor:
    """Return a gradient in float32 or finer, so that its square does not overflow."""
    return gradient.to(torch.promote_types(gradient.dtype, torch.float32))


def _norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the 1-norm of each tensor, in float32 or finer; it squares nothing that overflows."""
    widest = max((tensor.dtype for tensor in tensors), key=lambda dtype: dtype.itemsize)
    dtype = torch.promote_types(widest, torch.float32)
    return list(torch._foreach_norm(list(tensors), 1, dtype))


def _ratios(now: Sequence[Tensor], then: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return now / then; 1 if both are nearly equal, or if there was no gradient."""
    before = torch.stack(list(then))
    ratio = torch.stack(list(now)) / before
    untouched = ((ratio - 1).abs() < _UNTOUCHED) | (before == 0)
    return ratio.masked_fill(untouched, 1.0).unbind()


_CHUNK = 1 << 22  # elements reduced at a time


class LocalGradients:
    """Leave every rank its own gradients; average updates instead.

    `hook` is a DDP communication hook that sends no gradient. A rank whose gradient is not finite
    sets the last bucket of every rank to NaN: a GradScaler then skips the step on all of them.
    Otherwise the ranks that take the step would wait for the others for ever.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self._group = group
        self._not_finite: Tensor | None = None

    def hook(self, _state: object, bucket: GradBucket) -> Future[Tensor]:
        """Return the bucket unchanged; with the last one, reduce whether all ranks are finite."""
        buffer = bucket.buffer()
        not_finite = buffer.isfinite().all().logical_not().to(torch.int32).view(1)
        if bucket.index() > 0 and self._not_finite is not None:
            not_finite = not_finite.to(self._not_finite.device).maximum(self._not_finite)
        self._not_finite = not_finite
        if not bucket.is_last():
            unchanged: Future[Tensor] = Future()
            unchanged.set_result(buffer)
            return unchanged
        work = _start_all_reduce(not_finite, self._group, dist.ReduceOp.MAX)

        def mask(reduced: Future[list[Tensor]]) -> Tensor:
            return buffer.masked_fill_(reduced.value()[0].bool(), float("nan"))

        finite: Future[Tensor] = work.get_future().then(mask)
        return finite

    def average_(self, updates: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the ranks, which all have the same ones."""
        by_type: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for update in updates:
            by_type.setdefault((update.dtype, update.device), []).append(update)
        for alike in by_type.values():
            flat = torch.cat([update.reshape(-1) for update in alike])
            flat /= dist.get_world_size(self._group)
            works = [_start_all_reduce(part, self._group) for part in torch.split(flat, _CHUNK)]
            for work in works:
                work.wait()
            means = torch.split(flat, [update.numel() for update in alike])
            for update, mean in zip(alike, means, strict=True):
                update.copy_(mean.view(update.shape))
