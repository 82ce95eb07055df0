"""Squared gradients averaged over replicas beside the gradients: a DDP communication hook.

Reduces them and hands them over; knows nothing of what they are used for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor
from torch.futures import Future

from thermolion.buckets import GradBucket, Reduce, SquareBucket
from thermolion.spread import check_shares, rank_weight

# A gradient that clipping has scaled by less than this counts as untouched: norms round, too.
_UNTOUCHED = 1e-5


@dataclass(frozen=True)
class _Sent:
    """A bucket's squares on their way; `norms` are the reduced gradients', once these arrive."""

    bucket: SquareBucket
    work: dist.Work
    norms: list[Tensor]


class OwnSquares:
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
