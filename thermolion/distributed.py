"""The door between an optimizer and data parallelism: what its gate needs, hung on a DDP module.

Starts no process group and wraps no model.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.futures import Future
from torch.optim.optimizer import Optimizer

# How DDP averages a bucket of gradients: (process group, bucket) to the averaged buffer.
Reduce = Callable[[Any, "dist.GradBucket"], "Future[Tensor]"]


class Attachment:
    """What hangs between an optimizer and a model once they are attached."""

    @property
    def own_state(self) -> bool:
        """Whether every rank has an optimizer state of its own (`gate="local"`).

        Where it is true, a checkpoint has to keep the state of every rank.
        """
        raise NotImplementedError

    def shares(self, samples: Sequence[int]) -> None:
        """Say how many samples each rank has in the step to come, accumulation included.

        Needed where the ranks' shares differ, and where a step has another global batch than
        `attach` was told; it holds for one step. Expects the loss of a rank to be its sum times
        the world size over the global count, so that DDP's mean is the mean over all samples.
        Call it on every rank, with the same numbers, before the backward pass that reduces.
        """
        raise NotImplementedError

    def verify(self) -> None:
        """Raise ReplicasDiffer on all ranks if a parameter differs between any two of them.

        Collective: every rank of the group has to call it.
        """
        raise NotImplementedError


def attach(
    optimizer: Optimizer,
    model: nn.Module,
    *,
    global_batch: int | None = None,
    reduce: Reduce | None = None,
    verify_every: int = 0,
) -> Attachment:
    """Give the optimizer's gate what it needs of data parallelism; call it once, on every rank.

    `model` is the DistributedDataParallel module (the bare module in a single process), and
    `optimizer` any optimizer: one without a gate, and ThermoLion's `gate="averaged"`, need
    nothing, and nothing is hung on the model for them. A ZeroRedundancyOptimizer around
    ThermoLion is attached in its place.

    `global_batch` counts the samples of a step over all ranks, accumulation included;
    `gate="replicas"` with a `reference_batch` needs it. `reduce` is a DDP communication hook that
    takes the place of the plain all-reduce of the gradients (such as torch's
    `bf16_compress_hook`); it gets the module's process group as its state. DDP takes one hook
    only: hand it over here instead of registering it. `verify_every=n` compares the parameters of
    all ranks after every n-th step.

    Raises ValueError where the gate cannot do what is asked of it (the message says which
    setting and what to do), RuntimeError for a model that has a communication hook already.
    """
    raise NotImplementedError
