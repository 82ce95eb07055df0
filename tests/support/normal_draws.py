"""The draws of any part of a parameter, made of what an optimizer makes its noise of."""

import torch
from torch import Tensor

from thermolion.step.noise import ROW, row_keys, standard_normal_rows, stream_key


def standard_normal(
    count: int,
    offset: int = 0,
    *,
    seed: int,
    step: int,
    param_id: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return the N(0, 1) draws of elements `offset` … `offset + count - 1` of a parameter, flat.

    A slice of the parameter's draws is what is returned for the slice: shards add up to the
    whole. Elements are numbered in the order in which the parameter lies in memory. Draws are
    made in float32, of 32-bit words, and then given `dtype`.
    """
    first, last = offset // ROW, -(-(offset + count) // ROW)
    rows = torch.arange(first, last, dtype=torch.int64, device=device)
    stream = torch.tensor(stream_key(seed, param_id), dtype=torch.int64, device=device)
    steps = torch.tensor([step], dtype=torch.int64, device=device)
    keys = row_keys(stream.unsqueeze(1), steps, torch.zeros_like(rows), rows)
    begin = offset - first * ROW
    draws = standard_normal_rows(keys).flatten()
    return draws[begin : begin + count].to(dtype, copy=True)
