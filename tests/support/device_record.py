"""What a step asks of an accelerator: parameters on `meta` stand for one, nothing is computed.

`meta` has no values, so that whatever a host would wait for (`item`, `int`, a branch) raises.
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from thermolion.step import fused, triton_kernel

# These make views or reserve memory: nothing is launched.
_FREE = {
    *("_unsafe_view", "alias", "as_strided", "detach", "empty", "empty_like", "empty_strided"),
    *("expand", "lift_fresh", "new_empty", "permute", "select", "slice", "split", "squeeze"),
    *("split_with_sizes", "t", "transpose", "unbind", "unsqueeze", "view"),
}


class DeviceRecord(TorchDispatchMode):
    """Counts operations on `meta`, and transfers between it and the CPU; notes who waits."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.transfers = 0
        self.waits: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [one for one in _pytree.tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        made = [one for one in _pytree.tree_leaves(result) if isinstance(one, Tensor)]
        devices = {one.device.type for one in tensors + made if one.dim() or len(tensors) < 2}
        name = func.overloadpacket.__name__
        if "meta" in devices and name not in _FREE:
            self.operations[name] += 1
            if devices == {"cpu", "meta"}:
                self.transfers += 1
                if not (kwargs or {}).get("non_blocking", len(args) > 2 and args[2]):
                    self.waits.append(str(func))
        return result


def record(
    shapes: Sequence[tuple[int, ...]],
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    dtype: torch.dtype = torch.float32,
) -> tuple[DeviceRecord, DeviceRecord]:
    """Return what the first step of an optimizer asks of its device, and what the third asks."""
    params = [nn.Parameter(torch.empty(shape, device="meta", dtype=dtype)) for shape in shapes]
    optimizer = make(params)
    records = []
    for _ in range(3):
        for param in params:
            param.grad = torch.empty_like(param)
        with DeviceRecord() as seen:
            optimizer.step()
        records.append(seen)
    return records[0], records[2]


class StandInKernels:
    """Stands for the Triton kernels of the fused step, on `meta`: notes what is launched."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.launched: list[str] = []
        self.tensors: list[list[Tensor]] = []
        monkeypatch.setattr(fused, "find_refusal", lambda _: None)
        monkeypatch.setitem(sys.modules, "triton.language", SimpleNamespace(float32=None))
        for name in ("square_rows", "count_steps", "step_rows"):
            monkeypatch.setattr(triton_kernel, name, _Kernel(self, name), raising=False)


class _Kernel:
    def __init__(self, kernels: StandInKernels, name: str) -> None:
        self._kernels, self._name = kernels, name

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        def launch(*args: Any, **_: Any) -> None:
            self._kernels.launched.append(self._name)
            self._kernels.tensors.append([one for one in args if isinstance(one, Tensor)])

        return launch
