"""What a step sends from the host to its device: from pinned memory, without a wait.

In a CUDA graph that is being captured nothing may be sent but what stays where it is for good.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

COLD = (
    "a step that is being captured would have to send something to its device that a replay does "
    "not renew: take a step of all parameters, with the same options, before the capture"
)


CAPTURED = {"cuda"}  # kinds of devices that have such graphs
# How many steps may be captured between two that are not.
_SPARES = 4


def is_capturing(device: torch.device) -> bool:
    """Return True if what is asked of a device is being captured in a CUDA graph."""
    return device.type in CAPTURED and torch.cuda.is_current_stream_capturing()


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return a host's tensor on a device, sent without a wait; the host's own for a CPU.

    Raises RuntimeError in a capture.
    """
    if device.type == "cpu":
        return values
    if is_capturing(device):
        raise RuntimeError(COLD)
    return _pinned(values, device).to(device, non_blocking=True)


def to_other_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of a device on another, itself if it is there.

    Without a wait, unless a CPU is to read it, which would read before it has come.
    """
    return tensor.to(device, non_blocking=device.type != "cpu")


def _pinned(values: Tensor, device: torch.device) -> Tensor:
    """Return a copy in pinned memory if the device is one of CUDA, else the tensor itself.

    torch keeps the copy until it has been sent.
    """
    return values.pin_memory() if device.type == "cuda" else values


class AddressTable:
    """A table of addresses on a device, sent anew only if one of them has changed."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._places: list[int] = []
        self._table = torch.empty(0, dtype=torch.int64, device=device)
        self._spares: list[Tensor] = []
        self._captured: list[Tensor] = []

    def find(self, tensors: Sequence[Sequence[Tensor]]) -> Tensor:
        """Return the addresses of equally long lists of tensors, (lists, tensors) int64.

        Gradients that are made in a capture lie elsewhere than before: the graph sends their
        addresses at every replay, from memory that is kept for it. Raises RuntimeError if there
        is none, because no step has been taken outside of a capture.
        """
        places = [tensor.data_ptr() for each in tensors for tensor in each]
        shape = len(tensors), len(tensors[0])
        if is_capturing(self._device):
            return self._find_for_graph(places, shape)
        if places != self._places:
            self._table = to_device(_as_table(places, shape), self._device)
            self._places = places
        if self._device.type == "cuda":  # pinned memory must not be asked for in a capture
            while len(self._spares) < _SPARES:
                self._spares.append(torch.empty(shape, dtype=torch.int64, pin_memory=True))
        return self._table

    def _find_for_graph(self, places: list[int], shape: tuple[int, int]) -> Tensor:
        if places == self._places:
            self._captured.append(self._table)
            return self._table
        if not self._spares or tuple(self._spares[-1].shape) != shape:
            raise RuntimeError(COLD)
        source = self._spares.pop().copy_(_as_table(places, shape))
        table = torch.empty(shape, dtype=torch.int64, device=self._device)
        self._captured += [source, table.copy_(source, non_blocking=True)]
        return table


def _as_table(places: list[int], shape: tuple[int, int]) -> Tensor:
    return torch.tensor(places, dtype=torch.int64).view(shape)
