"""The buckets in which DDP reduces gradients, and room for squares laid out like them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._C._distributed_c10d import GradBucket  # torch.distributed's, which has no type there
from torch.futures import Future

__all__ = ["GradBucket", "Reduce", "SquareBucket"]

# How DDP averages a bucket of gradients: (process group, bucket) to the averaged buffer.
Reduce = Callable[[Any, GradBucket], Future[Tensor]]


@dataclass(frozen=True)
class SquareBucket:
    """The parameters that DDP reduces together, and room for their squares, used again and again.

    `views` are the parts of `squares` that belong to each parameter, in its own strides.
    """

    parameters: list[Tensor]
    squares: Tensor
    views: list[Tensor]

    @staticmethod
    def like(buffer: Tensor, parameters: list[Tensor]) -> "SquareBucket":
        """Lay out squares as DDP lays out gradients: `bucket.gradients()` loses the strides."""
        dtype = torch.promote_types(buffer.dtype, torch.float32)
        squares, views, offset = torch.empty_like(buffer, dtype=dtype), [], 0
        for parameter in parameters:
            # Those of the parameter if these leave no gaps, else those of a contiguous tensor.
            stride = torch.empty_like(parameter, device="meta").stride()
            views.append(squares.as_strided(parameter.shape, stride, offset))
            offset += parameter.numel()
        return SquareBucket(parameters, squares, views)

    def parts_of(self, buffer: Tensor) -> list[Tensor]:
        begin = buffer.storage_offset()
        return [
            buffer.as_strided(view.shape, view.stride(), begin + view.storage_offset())
            for view in self.views
        ]
