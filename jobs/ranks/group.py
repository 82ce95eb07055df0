"""The processes that train one trial together; here the group of one, which has nobody to ask.

That of several is `jobs.ranks.ddp`, which is imported only if there are several.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn

from jobs.ranks.ending import Ending, judge_endings
from thermolion.errors import OperationError


class RendezvousError(OperationError):
    """Ranks that have not found each other in time; the message names host and port."""


class GroupBroken(OperationError):  # noqa: N818 - a state: the cause is another rank's to tell
    """Another rank has left the training or died: this one cannot go on."""


class RankGroup:
    """One rank's view of all ranks. Unless said otherwise, all ranks call a method alike."""

    rank, size = 0, 1

    def exchange(self, what: str, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank; `what` tells one exchange from another."""
        del what
        return [value]

    def gather(self, what: str, value: Any) -> list[Any] | None:
        """Return the values of all ranks on rank 0; the others get None and do not wait."""
        return self.exchange(what, value)

    def broadcast(self, value: Any = None) -> Any:
        """Return the value of rank 0."""
        return self.exchange("a decision", value)[0]

    def broadcast_last(self, value: Any) -> None:
        """Send the other ranks a value after which they leave; to be called on rank 0 alone."""

    def broadcast_bytes(self, data: bytes | None) -> bytes | None:
        """Return the bytes of rank 0, however many."""
        return data

    def sum(self, *tensors: Tensor) -> None:
        """Make each tensor the sum of those of all ranks, in place."""

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Give `model` the buffers that it has on rank 0, in place."""

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return `model` with gradients that are averaged over all ranks."""
        return model

    def no_sync(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Return the context in which each rank accumulates its gradients by itself."""
        del model
        return nullcontext()

    def end(self, ending: Ending) -> Ending | None:
        """Say how the trial has ended on this rank; return, on rank 0, how it has as a whole."""
        return judge_endings({0: ending}, ())

    @property
    def has_lost_rank(self) -> bool:
        """True if a rank has died: no other trial can be run together."""
        return False

    @property
    def is_broken(self) -> bool:
        """True if another rank has left the trial, which cannot go on; any rank may ask."""
        return False

    def environment(self) -> Mapping[str, str]:
        """Return the variables that torchrun would set for a program of several ranks."""
        return {}

    def leave(self) -> None:
        """Leave the group; every rank calls this for itself."""
