"""What the comparison of replicas says on each rank, of differences and of none."""

from typing import Any

import torch
from exchanges import said_by
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from thermolion.ddp.attach import attach
from thermolion.ddp.replica_check import verify_replicas

TYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def watched(rank: int) -> list[tuple[int, str]]:
    """Watch a model in DDP, and one in none, whose gradients somebody else averages."""
    return [_watched(rank, wrapped) for wrapped in (True, False)]


def _watched(rank: int, wrapped: bool) -> tuple[int, str]:
    """Let rank 1 change a weight, after the comparison of step 2 and before that of step 4.

    Return the step that failed and what was said.
    """
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    model = DistributedDataParallel(layers) if wrapped else layers
    optimizer = torch.optim.AdamW(model.parameters())
    attach(optimizer, model, verify_every=2)
    for step in range(1, 7):
        optimizer.zero_grad()
        torch.manual_seed(step)
        model(torch.randn(4, 3)).square().mean().backward()
        if step == (3 if wrapped else 4) and rank == 1:
            layers[1].weight.data[0, 0] += 1e-6  # type: ignore[operator,union-attr]  # a layer's
        said = said_by(optimizer.step)
        if said:
            return step, said
    return 0, ""


def verifications(rank: int) -> dict[str, str]:
    said = {}
    for dtype in TYPES:
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2), nn.Linear(2, 2))
        for param in model.parameters():
            param.data = torch.linspace(-1, 1, param.numel()).view_as(param).to(dtype)
        bias: Any = model[1].bias.data
        bias[1] = float("nan")
        said[f"{dtype}: equal, with a NaN"] = said_by(lambda model=model: verify_replicas(model))
        if rank == 1:
            bias.view(_BITS[dtype.itemsize])[0] += 1
            model[2].weight.data += 1
        said[f"{dtype}: one bit"] = said_by(lambda model=model: verify_replicas(model))
    zero = torch.tensor([0.0, -0.0 if rank == 0 else 0.0])
    long = torch.arange(2_000_000, dtype=torch.float32)
    if rank == 1:
        long[[5, 1_500_000]] = long[[1_500_000, 5]]
    strided = torch.arange(24.0).view(2, 3, 2, 2).to(memory_format=torch.channels_last)
    named: dict[str, list[tuple[str, Tensor]]] = {
        "the sign of a zero": [("zero", zero)],
        "two elements swapped": [("long", long)],
        "whole numbers": [("count", torch.tensor([3 + rank]))],
        "complex numbers": [("phase", torch.tensor([1 + 1j * rank]))],
        "layouts of equal values": [("w", strided if rank else strided.contiguous())],
        "nothing": [],
        "a scalar and an empty tensor": [("s", torch.tensor(3.0)), ("e", torch.empty(0, 4))],
    }
    for what, tensors in named.items():
        said[what] = said_by(lambda tensors=tensors: verify_replicas(tensors))
    return said


def wide_parameters(_: int) -> tuple[list[float], list[float], dict[str, bool]]:
    """Train in float64 without and with verification, then verify tensors of eight-byte types.

    Return the weights of both trainings, and if each tensor kept its bits.
    """
    whole = torch.arange(1, 5)
    kept = {}
    for tensor in (whole.double(), whole.to(torch.complex128), whole):
        before = tensor.clone()
        verify_replicas([("wide", tensor)])
        kept[str(tensor.dtype).removeprefix("torch.")] = torch.equal(tensor, before)
    return _trained_in_float64(0), _trained_in_float64(1), kept


def _trained_in_float64(verify_every: int) -> list[float]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 1).double()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    attach(optimizer, DistributedDataParallel(layer), verify_every=verify_every)
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.ones(2, 3, dtype=torch.float64)).square().mean().backward()
        optimizer.step()
    weights: list[float] = layer.weight.detach().flatten().tolist()
    return weights
