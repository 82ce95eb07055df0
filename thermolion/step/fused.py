"""ThermoLion's step in one pass over p, g, m and v, for CUDA: what launches the Triton kernels.

Importable without Triton; `find_refusal` tells why a parameter cannot be stepped here. In float32
the moments are those of `reference` to the bit; half types are computed in float32 and rounded
once.
"""

import importlib
import importlib.util
import math
import os
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from thermolion.step.exploration import Amp, Rows, is_dense, last_noisy_step
from thermolion.step.noise import kept_words
from thermolion.step.sharding import is_sharded
from thermolion.step.state import Hyper, StepTensors, fit_states, fit_tensor, mean_square
from thermolion.step.transfer import AddressTable, to_device

# A product and a sum must not be rounded once: torch rounds each. With at most 64 registers a
# thread, a multiprocessor holds enough threads to keep the memory busy.
LAUNCH = {"num_warps": 4, "maxnreg": 64, "enable_fp_fusion": False}
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
    """Launch the steps of one group of tensors: three kernels with noise, two without.

    Keeps the table of their addresses, and what one kernel writes for the next.
    """

    def __init__(self, rows: Rows, device: torch.device) -> None:
        self._kernels: Any = importlib.import_module("thermolion.step.triton_kernel")
        self._language: Any = importlib.import_module("triton.language")
        self.rows = rows
        self._device = device
        counts = torch.tensor([part.count for part in rows.parts])
        self._counts = to_device(counts, device)
        self._starts = to_device(torch.tensor(rows.starts), device)
        self._streams = rows.streams.to(torch.int32)
        self._words = kept_words(device)
        self._squares = torch.empty(rows.starts[-1], dtype=torch.float32, device=device)
        self._scales = torch.empty(len(counts), dtype=torch.float32, device=device)
        self._keys = torch.empty((2, len(counts)), dtype=torch.int32, device=device)
        self._addresses = AddressTable(device)
        self._fitted: list[object] = []

    def step(
        self,
        tensors: StepTensors,
        states: Sequence[dict[str, Any]],
        hyper: Hyper,
        temp_decay: float | None,
        amp: Amp | None,
    ) -> None:
        """Take a step of `tensors`, in place; see `StepTensors` for its optional lists.

        Counts it in `states`, and brings mean(v) there up to date. Without `temp_decay` there is
        no noise. Nothing is read by the host. If `amp` says that gradients are scaled, they stay
        so; if it says that the step is skipped, nothing is changed.
        """
        device, dtype = self._device, tensors.params[0].dtype
        amp = None if amp is None else amp.on(device)
        scale = self._words if amp is None or amp.scale is None else amp.scale  # or a stand-in
        found_inf = self._words if amp is None else amp.found_inf
        has_noise = temp_decay is not None
        pointers = self._find_addresses(tensors, states, has_noise)
        count, rows = len(tensors.params), self.rows.starts[-1]
        last_noisy = last_noisy_step(temp_decay or 1.0)
        log_decay = math.log(temp_decay or 1.0)
        coarse = float(torch.tensor(log_decay, dtype=torch.float32))
        options = {
            "element": getattr(self._language, TYPES[dtype]),
            "has_grad_scale": amp is not None and amp.scale is not None,
            **LAUNCH,
        }
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            if has_noise and rows:
                self._kernels.square_rows[(rows,)](
                    pointers,
                    count,
                    self.rows.owners,
                    self.rows.numbers,
                    self._counts,
                    scale,
                    last_noisy,
                    self._squares,
                    **options,
                )
            self._kernels.count_steps[(count,)](
                pointers,
                count,
                self._counts,
                self._starts,
                self._streams,
                self._squares,
                found_inf,
                coarse,
                log_decay - coarse,
                last_noisy,
                hyper.beta2,
                1 - hyper.beta2,
                self._scales,
                self._keys,
                has_noise=has_noise,
                has_found_inf=amp is not None,
                **LAUNCH,
            )
            if rows:
                self._launch_step(pointers, tensors, hyper, scale, found_inf, options, has_noise)
        if tensors.directions is None:
            increment_version(tensors.params)  # a backward pass is not to use what it had saved

    def _launch_step(
        self,
        pointers: Tensor,
        tensors: StepTensors,
        hyper: Hyper,
        scale: Tensor,
        found_inf: Tensor,
        options: dict[str, Any],
        has_noise: bool,
    ) -> None:
        lr, bound = hyper.lr, hyper.bound(tensors.params[0].dtype)
        number = 0.0 if isinstance(lr, Tensor) else lr
        self._kernels.step_rows[(self.rows.starts[-1],)](
            pointers,
            len(tensors.params),
            self.rows.owners,
            self.rows.numbers,
            self._counts,
            self._words,
            self._keys,
            self._scales,
            lr if isinstance(lr, Tensor) else self._words,
            scale,
            found_inf,
            number,
            hyper.weight_decay,
            1 - number * hyper.weight_decay,
            hyper.beta1,
            1 - hyper.beta1,
            hyper.beta2,
            1 - hyper.beta2,
            hyper.floor(tensors.params[0].dtype),
            hyper.alignment,
            hyper.solid_gain,
            0.0 if bound is None else bound,
            has_noise=has_noise,
            has_own_gate=tensors.gate_sqs is not None,
            has_bound=bound is not None,
            gives_directions=tensors.directions is not None,
            has_lr_tensor=isinstance(lr, Tensor),
            has_found_inf=found_inf is not self._words,
            **options,
        )

    def _find_addresses(
        self, tensors: StepTensors, states: Sequence[dict[str, Any]], has_noise: bool
    ) -> Tensor:
        """Return the table of addresses; its rows are those that the kernels name."""
        self._fit(tensors, states)
        steps = [state["step"] for state in states]
        means = [mean_square(state) for state in states] if has_noise else steps
        return self._addresses.find(
            [
                tensors.params if tensors.directions is None else tensors.directions,
                tensors.grads,
                tensors.exp_avgs,
                tensors.exp_avg_sqs,
                tensors.exp_avg_sqs if tensors.gate_sqs is None else tensors.gate_sqs,
                steps,
                means,
            ]
        )

    def _fit(self, tensors: StepTensors, states: Sequence[dict[str, Any]]) -> None:
        """Have all lie in memory as their parameters do; looks only at what has moved."""
        for index, gate_sq in enumerate(tensors.gate_sqs or ()):
            assert tensors.gate_sqs is not None
            tensors.gate_sqs[index] = fit_tensor(gate_sq, tensors.params[index])
        held = [*tensors.exp_avgs, *tensors.exp_avg_sqs, *(state["step"] for state in states)]
        places = [*map(Tensor.data_ptr, held), *map(Tensor.stride, tensors.params)]
        if places != self._fitted:
            self._fitted = [] if fit_states(tensors, states) else places
