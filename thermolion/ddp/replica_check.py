"""Check that all replicas hold the same parameters, by a hash of each. Repairs nothing."""

from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

from thermolion.errors import OperationError
from thermolion.step.sharding import is_sharded

_CHUNK = 1 << 20  # elements hashed at a time: bounds the temporaries to some 30 MB
# Odd constants of a multiplicative hash (64-bit golden ratio and one of splitmix64), signed.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX = 0xBF58476D1CE4E5B9 - (1 << 64)
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class ReplicaError(OperationError, RuntimeError):
    """Replicas that should be equal are not; the message names the first parameter."""


@torch.no_grad()
def fingerprint(tensor: Tensor) -> Tensor:
    """Return a 64-bit hash of the bits of a tensor of any type, as a 0-dim int64 tensor.

    NaNs hash by their bits like any other value, so -0.0 and 0.0 differ. A difference in one
    element is never missed: every element is multiplied by an odd number of its own.
    """
    plain = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
    bits = plain.contiguous().view(-1).view(_BITS[plain.element_size()])
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for begin in range(0, bits.numel(), _CHUNK):
        part = bits[begin : begin + _CHUNK].to(torch.int64)
        place = torch.arange(begin, begin + part.numel(), device=tensor.device)
        place.mul_(_GOLDEN)  # int64 wraps around: arithmetic modulo 2^64
        place.bitwise_xor_(place >> 32).mul_(_MIX).bitwise_or_(1)
        total += place.mul_(part).sum()  # in `place`: `part` may be the parameter itself
    return total


def verify_replicas(
    parameters: nn.Module | Iterable[tuple[str, Tensor]], group: dist.ProcessGroup | None = None
) -> None:
    """Raise ReplicaError on all ranks of `group` if a parameter differs between any of them.

    `parameters` is a module or named tensors, the same ones in the same order on every rank;
    buffers are not looked at. Collective: every rank of the group has to call it. It costs one
    pass over the parameters, an all-reduce of 16 bytes for each of them, and a wait for the
    device.

    Raises ValueError for sharded parameters (DTensor), of which no rank holds a replica, and
    RuntimeError if no process group has been initialised.
    """
    named = list(_named(parameters))
    check_unsharded(named)
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(
            "there is no process group, so there are no replicas to compare: call "
            "torch.distributed.init_process_group first, or leave the verification out if one "
            "process trains"
        )
    if not named:
        return
    device = named[0][1].device
    hashes = torch.stack([fingerprint(tensor).to(device) for _, tensor in named])
    # The complement reverses the order of integers: one maximum serves for both ends.
    ends = torch.cat([hashes, ~hashes])
    dist.all_reduce(ends, op=dist.ReduceOp.MAX, group=group)
    largest, smallest = ends[: len(named)], ~ends[len(named) :]
    differing = (largest != smallest).nonzero().flatten().tolist()
    if differing:
        raise ReplicaError(
            f"replicas differ in {len(differing)} of {len(named)} parameters, the first is "
            f"{named[differing[0]][0]!r}: nothing will pull them together again. Go back to a "
            "checkpoint, and look for random draws, clipping or skipped steps that depend on the "
            "rank"
        )


def check_unsharded(parameters: nn.Module | Iterable[tuple[str, Tensor]]) -> None:
    """Raise ValueError if a parameter is sharded, so that there are no replicas of it."""
    for name, tensor in _named(parameters):
        if is_sharded(tensor):
            raise ValueError(
                f"parameter {name!r} is sharded over the ranks, so there are no replicas to "
                "compare: leave the verification out"
            )


def _named(parameters: nn.Module | Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    if not isinstance(parameters, nn.Module):
        yield from parameters
        return
    for name, tensor in parameters.named_parameters():
        yield name.removeprefix("module."), tensor  # as the wrapped model calls it
