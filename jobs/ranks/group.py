"""The processes that train one trial together; here the world of one, which has nobody to ask.

That of several is `jobs.ranks.ddp`, which is imported if there are several.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn

from jobs.ranks.ending import Ending, judged
from thermolion.errors import OperationError


class RendezvousError(OperationError):
    """Ranks that have not found each other in time; the message names host and port."""


class Broken(OperationError):  # noqa: N818 - a state: the cause is another rank's to tell
    """Another rank has left the training, or its life: this one cannot go on."""


class RankGroup:
    """One rank's view of all ranks. Unless said otherwise, all ranks call a method alike."""

    rank, size = 0, 1

    def exchange(self, what: str, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank; `what` tells one exchange from another."""
        del what
        return [value]

    def gather(self, what: str, value: Any) -> list[Any] | None:
        """Return the values of all ranks on rank 0, which the others do not wait for."""
        del what
        return [value]

    def tell(self, value: Any = None) -> Any:
        """Return the value of rank 0."""
        return self.exchange("a decision", value)[0]

    def dismiss(self, value: Any) -> None:
        """Tell the others a last value, after which they leave; to be called by rank 0 alone."""

    def share(self, data: bytes | None) -> bytes | None:
        """Return the bytes of rank 0, however many."""
        return data

    def sum(self, *tensors: Tensor) -> None:
        """Make each tensor the sum of those of all ranks, in place."""

    def buffers_of_rank_0(self, model: nn.Module) -> None:
        """Give a model the buffers of rank 0's, in place."""

    def parallel(self, model: nn.Module) -> nn.Module:
        """Return a model whose gradients are those of all ranks, averaged."""
        return model

    def apart(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Return the context in which each rank's gradients add up, unseen by the others."""
        del model
        return nullcontext()

    def end(self, ending: Ending) -> Ending | None:
        """Say how the trial has ended here; return, on rank 0, what it has come to."""
        return judged({0: ending}, ())

    @property
    def dead(self) -> bool:
        """Whether a rank has died: no other trial can be run together."""
        return False

    @property
    def in_trouble(self) -> bool:
        """Whether another rank has left the trial, which cannot go on; to be asked by any rank."""
        return False

    def variables(self) -> Mapping[str, str]:
        """Return what a program of several ranks finds in its environment, as from torchrun."""
        return {}

    def leave(self) -> None:
        """End it; to be called by every rank for itself."""
