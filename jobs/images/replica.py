"""One rank's replica of a model: its loss, with gradients averaged over all ranks.

Attaches the gate of the optimizer to the gradients; takes no step. One rank is a group of one.
"""

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from jobs.images.evaluate import autocast, network_input, widen
from jobs.ranks.group import RankGroup


class Objective(nn.Module):
    """The cross-entropy of a model on augmented images; a rank may have none of them."""

    def __init__(self, model: nn.Module, precision: str, label_smoothing: float) -> None:
        super().__init__()
        self.model = model
        self._precision, self._label_smoothing = precision, label_smoothing

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over `images`, uint8 (b, C, S, S); for none of them a zero.

        The zero has gradients of zero, and no layer is called with an empty batch.
        """
        if not len(labels):
            zero = torch.zeros((), device=labels.device)
            return sum((0 * p.sum() for p in self.model.parameters()), zero)
        with autocast(labels.device.type, self._precision):
            logits = self.model(network_input(images))
        return functional.cross_entropy(
            widen(logits), labels, label_smoothing=self._label_smoothing
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
            # torch lays the gradients out anew after the first step that it sees, and the sums of
            # three ranks and more depend on the layout: so this is done once, at every start.
            none = torch.empty(0, dtype=torch.int64, device=next(objective.parameters()).device)
            self._module(none, none).backward()
            optimizer.zero_grad()

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss over the samples of this rank; 0 if it has none."""
        mean: Tensor = self._module(images, labels)
        return mean

    def no_sync(self) -> AbstractContextManager[Any]:
        """Return the context in which each rank accumulates its gradients by itself."""
        return self._group.no_sync(self._module)

    def begin_step(self, parts: Sequence[Tensor]) -> None:
        """Tell the gate how many samples each rank has in the next step, which has `parts`."""
        if self._attachment is not None:
            shares = zip(*(part.tensor_split(self._group.size) for part in parts), strict=True)
            self._attachment.shares([sum(map(len, of_rank)) for of_rank in shares])

    def optimizer_states(self) -> list[Any] | None:
        """Return on rank 0 the states of every rank's optimizer; None if all are equal."""
        if self._attachment is None or not self._attachment.own_state:
            return None
        written = io.BytesIO()
        torch.save(self._optimizer.state_dict(), written)
        every = self._group.gather("optimizers", written.getvalue())
        return every and [
            torch.load(io.BytesIO(each), map_location="cpu", weights_only=True) for each in every
        ]


def shard(chosen: Tensor, group: RankGroup) -> Tensor:
    """Return the samples of `chosen`, in their order, that a rank trains on.

    All have equally many, or the first ranks one more; there may be none.
    """
    return chosen.tensor_split(group.size)[group.rank]
