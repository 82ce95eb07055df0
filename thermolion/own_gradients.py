"""Every rank's own gradient for its own gate, and the mean over ranks of what comes of it."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.futures import Future

from thermolion.buckets import GradBucket

_CHUNK = 1 << 22  # elements reduced at a time


class OwnGradients:
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
