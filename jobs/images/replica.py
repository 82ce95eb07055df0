"""One rank's copy of what is trained: its gradients averaged with the others', its gate attached.

Takes no step; the world of one is a copy without others.

What a step of image classification makes small: the mean loss of a model on some samples.

Knows nothing of other ranks: `jobs.images.replica` does.
"""

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from jobs.images.evaluate import autocast, network_input, widened
from jobs.ranks.group import RankGroup


class Objective(nn.Module):
    """The cross-entropy of a model on augmented images; a rank may have none of them."""

    def __init__(self, model: nn.Module, precision: str, label_smoothing: float) -> None:
        super().__init__()
        self.model = model
        self._precision, self._label_smoothing = precision, label_smoothing

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over `images`, uint8 (b, C, S, S); of none of them a zero.

        Its gradient is zero, too, and no layer has seen a batch without a sample.
        """
        if not len(labels):
            return sum(
                (0 * p.sum() for p in self.model.parameters()), labels.new_zeros(()).float()
            )
        with autocast(labels.device.type, self._precision):
            logits = self.model(network_input(images))
        return functional.cross_entropy(
            widened(logits), labels, label_smoothing=self._label_smoothing
        )


class Replica:
    """An objective whose gradients, after `backward`, are those of all ranks.

    `samples` counts those of a full step, over all ranks. All ranks call a method alike.
    """

    def __init__(
        self, group: RankGroup, objective: Objective, optimizer: Any, samples: int
    ) -> None:
        self._group, self._optimizer = group, optimizer
        self._module = group.wrap(objective)
        self._attachment: Any = None
        if group.size > 1 or getattr(optimizer, "gate", "averaged") != "averaged":
            from thermolion.ddp.attach import attach  # loads what one process has no use for

            self._attachment = attach(optimizer, self._module, global_batch=samples)
        if group.size > 1:
            # torch lays the gradients out anew after the first step that it sees, and sums of
            # three ranks and more depend on where they lie: have that behind us, at every start.
            none = torch.empty(0, dtype=torch.int64, device=next(objective.parameters()).device)
            self._module(none, none).backward()
            optimizer.zero_grad()

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss over the samples of this rank; see `jobs.images.replica`."""
        mean: Tensor = self._module(images, labels)
        return mean

    def no_sync(self) -> AbstractContextManager[Any]:
        """Return the context in which each rank's gradients add up, unseen by the others."""
        return self._group.no_sync(self._module)

    def announce(self, parts: Sequence[Tensor]) -> None:
        """Say which samples the step to come has, in its parts, before they are shared out."""
        if self._attachment is not None:
            ranks = self._group.size
            counts = [0] * ranks
            for part in parts:
                each, more = divmod(len(part), ranks)
                counts = [n + each + (rank < more) for rank, n in enumerate(counts)]
            self._attachment.shares(counts)

    def optimizer_states(self) -> list[Any] | None:
        """Return the states of every rank's optimizer, on rank 0, where they are not all equal."""
        if self._attachment is None or not self._attachment.own_state:
            return None
        written = io.BytesIO()
        torch.save(self._optimizer.state_dict(), written)
        every = self._group.gather("optimizers", written.getvalue())
        return every and [
            torch.load(io.BytesIO(each), map_location="cpu", weights_only=True) for each in every
        ]


def shard(chosen: Tensor, group: RankGroup) -> Tensor:
    """Return what of the samples `chosen`, in their order, a rank trains on.

    All have as many, the first ones one more where it does not come out even; there may be none.
    """
    each, more = divmod(len(chosen), group.size)
    begin = group.rank * each + min(group.rank, more)
    return chosen[begin : begin + each + (group.rank < more)]


def loss_factor(mine: int, count: int, group: RankGroup) -> float:
    """Return the factor of a rank's mean loss whose average over ranks is that of all samples.

    `mine` of the `count` samples of the step are the rank's.
    """
    return mine * group.size / count
