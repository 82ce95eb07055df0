"""Attach an optimizer to data parallelism: give its gate what it needs, through a DDP module.

Starts no process group and wraps no model.
"""

import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel
from torch.optim.optimizer import Optimizer

from thermolion.ddp.hooks import (
    GradBucket,
    LocalGradients,
    Reduce,
    SingleRankSquares,
    SquareExchange,
)
from thermolion.ddp.replica_check import check_unsharded, verify_replicas
from thermolion.optimizer import ThermoLion
from thermolion.step.gates import DistributedGate, SquareSource
from thermolion.step.sharding import is_sharded, is_zero, number_parameters

__all__ = ["Attachment", "Reduce", "attach"]

Hook = Callable[[object, GradBucket], Future[Tensor]]


class Attachment:
    """The connection between an optimizer and a model once they are attached."""

    def __init__(self, model: nn.Module, squares: SquareSource | None, own_state: bool) -> None:
        self._model, self._squares = model, squares
        self.own_state = own_state
        """True if every rank has an optimizer state of its own (`gate="local"`).

        A checkpoint then has to keep the state of every rank.
        """

    def shares(self, samples: Sequence[int]) -> None:
        """Set how many samples each rank has in the next step, accumulation included.

        Needed if the ranks' shares differ, and if a step has another global batch than `attach`
        was given; it holds for the next backward pass that reduces. Expects the loss of a rank to
        be its sum times the world size over the global count, so that DDP's mean is the mean over
        all samples. Call it on every rank, with the same numbers.

        Raises ValueError unless there is a whole number for every rank.
        """
        if self._squares is not None:
            self._squares.shares(samples)

    def verify(self) -> None:
        """Raise ReplicaError on all ranks if a parameter differs between any two of them.

        Collective: every rank of the group has to call it (of all processes, if the model is not
        in DDP). In a single process, there is nothing to compare.
        """
        group = _group(self._model)
        if not _is_alone() and dist.get_world_size(group) > 1:
            verify_replicas(self._model, group)


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
    nothing, and nothing is registered on the model for them. A ZeroRedundancyOptimizer around
    ThermoLion is attached in its place.

    `global_batch` counts the samples of a step over all ranks, accumulation included;
    `gate="replicas"` with a `reference_batch` needs it. `reduce` is a DDP communication hook that
    takes the place of the plain all-reduce of the gradients (such as torch's
    `bf16_compress_hook`); it gets the module's process group as its state. DDP takes one hook
    only: hand it over here instead of registering it. `verify_every=n` compares the parameters of
    all ranks after every n-th step.

    Raises ValueError for a setting with which the gate is impossible (the message says what to
    change), and RuntimeError for a model that has a communication hook already; the optimizer
    then stays unattached.
    """
    _check_count("global_batch", global_batch, 1, "samples")
    _check_count("verify_every", verify_every, 0, "steps")
    if verify_every:
        check_unsharded(model)
    group = _group(model)
    inner = getattr(optimizer, "optim", optimizer) if is_zero(optimizer) else optimizer
    gate = inner.distributed_gate if isinstance(inner, ThermoLion) else None
    kind = "averaged" if gate is None else gate.kind
    squares: SquareSource | None = None
    local_gradients: LocalGradients | None = None
    hook: Hook | None = None
    if gate is not None and kind != "averaged":
        _check_gate(optimizer, model, kind, reduce)
        if kind == "replicas":
            squares = _make_squares(gate, model, global_batch, reduce or allreduce_hook)
            hook = squares.hook if isinstance(squares, SquareExchange) else None
        elif group is not None:
            local_gradients = LocalGradients(group)
            hook = local_gradients.hook
    elif reduce is not None:
        _check_wrapped("reduce is a communication hook", model)
        hook = _with_group(reduce, group)
    if hook is not None and group is not None:
        _register(model, hook, kind)
    if gate is not None:
        gate.squares, gate.local_gradients, gate.attached = squares, local_gradients, True
        if is_zero(optimizer):
            number_parameters(optimizer)
    attachment = Attachment(model, squares, own_state=local_gradients is not None)
    if verify_every:
        _verify_after(optimizer, attachment, verify_every)
    return attachment


def _group(model: nn.Module) -> dist.ProcessGroup | None:
    """Return the group over which DDP reduces, None for a model that is not in DDP."""
    if not isinstance(model, DistributedDataParallel):
        return None
    group: dist.ProcessGroup = model.process_group
    return group


def _check_gate(optimizer: Optimizer, model: nn.Module, gate: str, reduce: Reduce | None) -> None:
    """Raise ValueError if a gate over ranks is impossible with these arguments."""
    if any(map(is_sharded, model.parameters())):
        raise ValueError(
            f"gate is {gate!r}, but the parameters are sharded (DTensor), and no rank has a whole "
            'gradient of its own: use gate="averaged", or DistributedDataParallel'
        )
    _check_wrapped(f"gate is {gate!r}", model)
    if gate != "local":
        return
    if is_zero(optimizer):
        raise ValueError(
            'gate is "local", but ZeroRedundancyOptimizer keeps the moments of a parameter on one '
            "rank, and every rank needs its own: use ThermoLion without it, or another gate"
        )
    if reduce is not None:
        raise ValueError(
            'gate is "local", which reduces updates and no gradients: leave `reduce` out, or '
            "choose another gate"
        )


def _check_wrapped(what: str, model: nn.Module) -> None:
    """Raise ValueError for a model that is not in DDP if there are several processes."""
    if not isinstance(model, DistributedDataParallel) and not _is_alone():
        raise ValueError(
            f"{what}, and the model is a {type(model).__name__}: wrap it in "
            "DistributedDataParallel, and attach that"
        )


def _is_alone() -> bool:
    return not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


def _check_count(name: str, count: object, least: int, what: str) -> None:
    whole = isinstance(count, int) and not isinstance(count, bool) and count >= least
    if count is not None and not whole:
        raise ValueError(
            f"{name} is {count!r}, it must be a whole number of {what}, {least} or more"
        )


def _make_squares(
    gate: DistributedGate,
    model: nn.Module,
    global_batch: int | None,
    reduce: Reduce,
) -> SquareSource:
    group, reference = _group(model), gate.reference_batch
    if reference is not None and global_batch is None:
        raise ValueError(
            f"reference_batch is {reference}, which is compared with the samples of a step: say "
            "how many these are over all ranks, attach(..., global_batch=...)"
        )
    if reference is not None and gate.feed == "all" and reference > (global_batch or reference):
        raise ValueError(
            f"reference_batch is {reference}, above the global batch of {global_batch}, and "
            'replicas_feed is "all": v would be what is left of a difference, and may be nearly 0 '
            "for a momentum that is not. Set a reference up to the global batch, or "
            'replicas_feed="gate"'
        )
    world_size = 1 if group is None else group.size()
    if reference not in (None, global_batch) and world_size == 1:
        raise ValueError(
            f"reference_batch is {reference} and the global batch {global_batch}, in one process: "
            "how far gradients spread takes two ranks or more. Start them (on one machine, too), "
            'or set reference_batch to the global batch, which is gate="averaged"'
        )
    samples = world_size if global_batch is None else global_batch
    if group is None or world_size == 1:
        return SingleRankSquares(samples)
    return SquareExchange(group, reduce, model.parameters(), samples)


def _register(model: nn.Module, hook: Hook, gate: str) -> None:
    assert isinstance(model, DistributedDataParallel)
    try:
        model.register_comm_hook(None, hook)
    except RuntimeError as error:
        raise RuntimeError(
            "the model has a communication hook already, and DDP takes one: attach before it is "
            "registered, and hand it over, attach(..., reduce=hook)"
        ) from error
    if gate != "averaged":
        _refuse_join(model, gate)


def _refuse_join(model: DistributedDataParallel, gate: str) -> None:
    """Have the model raise RuntimeError within `join()`, on every rank.

    A rank that has joined repeats what DDP sends for others, and not what a gate does: they would
    wait for it for ever.
    """
    model.join = partial(_join, gate)  # type: ignore[method-assign]  # before any rank waits
    # Join([model]) calls no method of the model on entry.
    model.register_forward_pre_hook(partial(_check_joined, gate))


def _join(
    gate: str, _divide: bool = True, enable: bool = True, *_rest: bool, **_options: bool
) -> AbstractContextManager[None]:
    """Stand for a model's `join`, of the same arguments, of which the others do not matter."""
    _refuse_if(enable, gate)
    return nullcontext()


def _check_joined(gate: str, model: Any, _inputs: object) -> None:
    _refuse_if(model._join_config.enable, gate)


def _refuse_if(is_joined: bool, gate: str) -> None:
    if is_joined:
        raise RuntimeError(
            f'gate is "{gate}", which sends more than gradients, and ranks that have joined in '
            "`join()` do not answer: give every rank equally many steps, or use "
            'gate="averaged"'
        )


def _with_group(reduce: Reduce, group: dist.ProcessGroup | None) -> Hook:
    def hook(_state: object, bucket: GradBucket) -> Future[Tensor]:
        return reduce(group, bucket)

    return hook


def _verify_after(optimizer: Optimizer, attachment: Attachment, every: int) -> None:
    count = itertools.count(1)

    def verify(*_: object) -> None:
        if next(count) % every == 0:
            attachment.verify()

    optimizer.register_step_post_hook(verify)
