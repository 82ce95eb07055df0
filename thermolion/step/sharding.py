"""Parameters of which a rank has a part: DTensor, as in FSDP2, and ZeroRedundancyOptimizer.

Says which part a rank holds, sums over the parts, and numbers the parameters for the noise. The
step itself needs none of it: moments and gates are element-wise.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from traceback import walk_stack
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter

from thermolion.step.transfer import to_device

PLAIN = (Tensor, Parameter)  # and no subclass, whose memory may be elsewhere


@dataclass(frozen=True)
class Part:
    """`count` elements from `offset` on, of the `whole` ones of a tensor, in memory order.

    `group` are the ranks that hold the other elements; None if there are none.
    """

    offset: int
    count: int
    whole: int
    group: "dist.ProcessGroup | None" = None


def is_sharded(tensor: Tensor) -> bool:
    """Return True for a DTensor; imports nothing to find out."""
    if type(tensor) in PLAIN:  # fast: called for every tensor
        return False
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def to_local(tensor: Tensor) -> Tensor:
    """Return what this rank holds of a tensor, as a plain tensor of the same memory."""
    if type(tensor) in PLAIN or not is_sharded(tensor):
        return tensor
    held: Tensor = tensor.to_local()  # type: ignore[attr-defined]  # a DTensor has it
    return held


def extent(param: Tensor, noise: bool) -> "int | Part":
    """Return how many elements of a parameter are here; which ones, if `noise` is wanted."""
    if is_sharded(param):
        return find_part(param) if noise else to_local(param).numel()
    return param.numel()


# Why FullyShardedDataParallel's parameters are refused.
FLATTENED = (
    "a parameter is a part of FullyShardedDataParallel's flat one, which does not say where in "
    "the whole it lies, and by that the noise is looked up: shard by "
    "torch.distributed.fsdp.fully_shard, or set noise=False"
)


def check_layouts(params: Sequence[Tensor]) -> None:
    """Raise ValueError for a sharded parameter whose layout has no noise."""
    for param in params:
        if is_sharded(param):
            find_part(param)
        elif has_flattened([param]):
            raise ValueError(FLATTENED)


def has_flattened(params: Sequence[Tensor]) -> bool:
    """Return True if FullyShardedDataParallel (FSDP1) has made one of these; imports nothing."""
    if "torch.distributed.fsdp" not in sys.modules:  # fast: called in every step
        return False
    return any("_fsdp_flattened" in param.__dict__ for param in params)


def find_part(param: Any) -> Part:
    """Return which part of a sharded parameter this rank holds.

    Raises ValueError unless that is one run of rows, with the other rows on other ranks.
    """
    return _part(param.shape, param.device_mesh, param.placements)


@lru_cache(maxsize=4096)
def _part(shape: torch.Size, mesh: Any, placements: tuple[Any, ...]) -> Part:
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    sharding = [dim for dim, kind in enumerate(placements) if not isinstance(kind, Replicate)]
    rows = [dim for dim in sharding if type(placements[dim]) is Shard and placements[dim].dim == 0]
    if rows != sharding or len(rows) > 1:
        raise ValueError(
            f"a parameter is laid out as {placements}, and the noise is looked up for rows of "
            "one shard: shard dimension 0 over one dimension of the mesh (as fully_shard does), "
            "or set noise=False"
        )
    local_shape, begin = compute_local_shape_and_global_offset(shape, mesh, placements)
    of_row = shape[1:].numel()
    return Part(
        begin[0] * of_row if begin else 0,
        torch.Size(local_shape).numel(),
        shape.numel(),
        mesh.get_group(rows[0]) if rows else None,
    )


def sum_over_parts_(numbers: Tensor, parts: Sequence[Part]) -> None:
    """Add up a number of each of k tensors (k,) over the ranks that hold their parts, in place.

    One all-reduce for all tensors that lie on the same ranks.
    """
    groups = {part.group for part in parts if part.group is not None}
    for group in sorted(groups, key=lambda group: group.group_name):
        mine = [index for index, part in enumerate(parts) if part.group == group]
        chosen = to_device(torch.tensor(mine), numbers.device)
        sums = numbers[chosen]
        dist.all_reduce(sums, group=group)
        numbers[chosen] = sums


_DEPTH = 12  # frames between the constructor and ZeroRedundancyOptimizer's, with room for wrappers


def is_zero(optimizer: object) -> bool:
    """Return True for a ZeroRedundancyOptimizer; does not import its module, which is slow."""
    module = sys.modules.get("torch.distributed.optim.zero_redundancy_optimizer")
    return module is not None and isinstance(optimizer, module.ZeroRedundancyOptimizer)


def is_being_built_inside() -> bool:
    """Return True if a caller is a ZeroRedundancyOptimizer that builds its rank's optimizer.

    It passes a part of the parameters and does not say so: only the call stack tells.
    """
    frames = islice(walk_stack(sys._getframe(1)), _DEPTH)
    return any(is_zero(frame.f_locals.get("self")) for frame, _ in frames)


def number_parameters(optimizer: Any) -> None:
    """Give the parameters of a rank's ThermoLion, from now on, the ids that they have among all.

    Before every step, because ZeroRedundancyOptimizer copies the options of groups to and fro,
    and from checkpoints that another rank has written.
    """

    def renumber(*_: object) -> None:
        params = [param for group in optimizer.param_groups for param in group["params"]]
        numbers = {param: number for number, param in enumerate(params)}
        for outer, inner in zip(optimizer.param_groups, optimizer.optim.param_groups, strict=True):
            outer["param_ids"] = [numbers[param] for param in inner["params"]]

    renumber()
    optimizer.register_step_pre_hook(renumber)
