"""ThermoLion's step in one pass over p, g, m and v, for CUDA: what launches the Triton kernel.

Importable without Triton; `find_refusal` tells why a parameter cannot be stepped here. In float32
the moments are those of `reference` to the bit; half types are computed in float32 and rounded
once.
"""

import importlib
import importlib.util
import math
import os
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from thermolion.step.exploration import Amp, Exploration, Rows, is_dense
from thermolion.step.noise import row_words
from thermolion.step.sharding import is_sharded
from thermolion.step.state import Hyper, StepTensors

TYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}


def find_refusal(param: Tensor) -> str | None:
    """Return why a parameter cannot take a fused step, None if it can."""
    if is_sharded(param):
        return "a parameter is sharded (DTensor)"
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    # Triton's interpreter runs kernels on the CPU, slowly: so they are tested without a GPU.
    device = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
    if param.device.type != device:
        return f"a parameter is on {param.device.type}, a fused step is for {device}"
    if param.dtype not in TYPES:
        return f"a parameter is {param.dtype}, a fused step is for {', '.join(TYPES.values())}"
    if not is_dense(param):
        return "a parameter is a view that leaves out some of its memory"
    return None


class Launcher:
    """Launch the steps of one group of tensors; keeps the table of their addresses."""

    def __init__(self, rows: Rows, device: torch.device) -> None:
        self._kernel: Any = importlib.import_module("thermolion.step.triton_kernel").step_rows
        self._language: Any = importlib.import_module("triton.language")
        self.rows = rows
        self._counts = torch.tensor([count for _, count in rows.identity[1]], device=device)
        self._words = row_words(device)
        self._places: list[int] = []
        self._pointers = torch.empty(0)

    def step(
        self, tensors: StepTensors, hyper: Hyper, exploration: Exploration | None, amp: Amp | None
    ) -> None:
        """Take a step of `tensors`, in place; see `StepTensors` for its optional lists.

        Nothing is read by the host. If `amp` says that gradients are scaled, they stay so.
        """
        device, dtype = tensors.params[0].device, tensors.params[0].dtype
        count = len(self.rows.owners)
        if count == 0:
            return
        self._point(tensors, device)
        lr = hyper.lr
        bound = hyper.bound(dtype)
        number = 0.0 if isinstance(lr, Tensor) else lr
        keys, scales = self._words, self._words  # stand-ins: what is not asked for is not read
        if exploration is not None:
            keys, scales = exploration.keys.contiguous(), exploration.scales
        scale = None if amp is None else amp.scale
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            self._kernel[(count,)](
                self._pointers,
                len(tensors.params),
                self.rows.owners,
                self.rows.numbers,
                self._counts,
                self._words,
                keys,
                count,
                scales,
                lr.to(device) if isinstance(lr, Tensor) else self._words,
                self._words if scale is None else scale,
                self._words if amp is None else amp.found_inf,
                number,
                hyper.weight_decay,
                1 - number * hyper.weight_decay,
                hyper.beta1,
                1 - hyper.beta1,
                hyper.beta2,
                1 - hyper.beta2,
                hyper.floor(dtype),
                hyper.alignment,
                hyper.solid_gain,
                math.inf if bound is None else bound,
                element=getattr(self._language, TYPES[dtype]),
                has_noise=exploration is not None,
                has_own_gate=tensors.gate_sqs is not None,
                gives_directions=tensors.directions is not None,
                has_lr_tensor=isinstance(lr, Tensor),
                has_grad_scale=scale is not None,
                has_found_inf=amp is not None,
                # A product and a sum must not be rounded once: torch rounds each.
                enable_fp_fusion=False,
            )

    def _point(self, tensors: StepTensors, device: torch.device) -> None:
        """Bring the table of addresses up to date: gradients often lie where they lay before."""
        moved = tensors.params if tensors.directions is None else tensors.directions
        gates = tensors.exp_avg_sqs if tensors.gate_sqs is None else tensors.gate_sqs
        lists = (moved, tensors.grads, tensors.exp_avgs, tensors.exp_avg_sqs, gates)
        places = [tensor.data_ptr() for each in lists for tensor in each]
        if places != self._places:
            self._pointers = torch.tensor(places, dtype=torch.int64).to(device, non_blocking=True)
            self._places = places
