"""ThermoLion's step in one pass over p, g, m and v, for a CPU: what calls the C of `one_pass.c`.

For float32 in dense memory. m and v are those of `reference` to the bit, and so is mean(v);
weights are within the rounding of a hyperbolic tangent, a logarithm, a sine and a cosine.
"""

import ctypes
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from thermolion.step.c_library import CompilerError, load_library
from thermolion.step.exploration import Rows, explores
from thermolion.step.noise import row_words
from thermolion.step.state import (
    MEAN_SQUARE,
    Hyper,
    StepTensors,
    fit_states,
    fit_tensor,
    mean_square,
)

# With fewer rows for each thread than this, waking a thread costs more than it does.
ROWS_A_THREAD = 32
# 8 MiB of gradients: as much as may still be in the cache between two passes over it.
ROWS_A_RUN = 2048
_COLUMNS = 9  # of the struct Tensor in C
# Triton's interpreter runs the GPU's kernel on the CPU: so it is tested without a GPU.
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
_NUMBERS = ("lr", "decay", "beta1", "gain1", "beta2", "gain2", "eps", "alignment", "solid_gain")
_ARRAYS = ("words", "streams", "temperatures", "norms", "scales")


class _Hyper(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_float) for name in _NUMBERS)


class _Noise(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in _ARRAYS)


def is_meant(param: Tensor) -> bool:
    """Return True if a fused step of a parameter is the one in C, and not that of a GPU."""
    return param.is_cpu and not _INTERPRETED


def find_refusal() -> str | None:
    """Return why there can be no step in C on this machine, None if there can; compiles it."""
    try:
        load_library()
    except CompilerError as error:
        return f"a fused step on a CPU is compiled from C, and {error}"
    return None


class OnePass:
    """Take the steps of one group of tensors, and count them; keeps the table of addresses."""

    def __init__(self, rows: Rows) -> None:
        library = load_library()
        self._count, self._step = library.thermolion_count, library.thermolion_step
        self._count.restype, self._step.restype = ctypes.c_int64, None
        self.rows = rows
        self._words = row_words()
        self._temperatures = (ctypes.c_double * len(rows.parts))()
        self._scales = (ctypes.c_float * len(rows.parts))()
        self._norms = torch.zeros(len(rows.parts))
        self._noise = _Noise(
            self._words.data_ptr(),
            rows.streams.data_ptr(),
            ctypes.addressof(self._temperatures),
            self._norms.data_ptr(),
            ctypes.addressof(self._scales),
        )
        self._runs = [(i, j, self._norms[i:j]) for i, j in _cut_runs(rows.starts)]
        self._places: list[object] = []
        self._table: ctypes.Array[ctypes.c_int64] = (ctypes.c_int64 * 0)()

    def step(
        self,
        tensors: StepTensors,
        states: Sequence[dict[str, Any]],
        hyper: Hyper,
        temp_decay: float | None,
    ) -> None:
        """Take a step of `tensors`, in place; see `StepTensors` for its optional lists.

        Counts it in `states`, and brings mean(v) there up to date. Without `temp_decay` there is
        no noise.
        """
        count = ctypes.c_int64(len(states))
        _take_plain(tensors)
        self._point(tensors, states)
        explores_now = 0
        if temp_decay is None:
            self._count(self._table, count, ctypes.c_double(0), None)
        else:
            decay = ctypes.c_double(temp_decay)
            explores_now = self._count(self._table, count, decay, self._temperatures)
        if explores_now and self._add_means(states):
            self._point(tensors, states)
        noise = ctypes.byref(self._noise) if explores_now else None
        numbers = ctypes.byref(_read(hyper))
        threads = torch.get_num_threads()
        for begin, end, norms in self._runs if explores_now else [(0, len(states), None)]:
            if norms is not None:
                torch.stack(torch._foreach_norm(tensors.grads[begin:end], 2), out=norms)
            rows = self.rows.starts[end] - self.rows.starts[begin]
            self._step(
                self._table,
                count,
                ctypes.c_int64(begin),
                ctypes.c_int64(end),
                numbers,
                noise,
                tensors.gate_sqs is not None,
                tensors.directions is not None,
                max(1, min(threads, rows // ROWS_A_THREAD)),
            )
        if tensors.directions is None:
            increment_version(tensors.params)  # a backward pass is not to use what it had saved

    def _add_means(self, states: Sequence[dict[str, Any]]) -> bool:
        """Give the states that explore mean(v), if they lack it; return True if any did."""
        added = False
        for state, temperature in zip(states, self._temperatures, strict=True):
            if MEAN_SQUARE not in state and explores(temperature):
                mean_square(state)
                added = True
        return added

    def _point(self, tensors: StepTensors, states: Sequence[dict[str, Any]]) -> None:
        """Bring the table of addresses up to date: gradients often lie where they lay before."""
        moved = tensors.params if tensors.directions is None else tensors.directions
        gates = tensors.exp_avg_sqs if tensors.gate_sqs is None else tensors.gate_sqs
        steps = [state["step"] for state in states]
        means = [state.get(MEAN_SQUARE, state["step"]) for state in states]
        lists = (moved, tensors.grads, tensors.exp_avgs, tensors.exp_avg_sqs, gates, steps, means)
        addresses = [tensor.data_ptr() for each in lists for tensor in each]
        places = [*addresses, *(param.stride() for param in tensors.params)]
        if places == self._places:
            return
        if fit_states(tensors, states):
            self._point(tensors, states)
            return
        count = len(states)
        table = [0] * (_COLUMNS * count)
        for column in range(len(lists)):
            table[column::_COLUMNS] = addresses[column * count : (column + 1) * count]
        table[7::_COLUMNS] = [part.count for part in self.rows.parts]
        table[8::_COLUMNS] = self.rows.starts[:-1]
        self._table = (ctypes.c_int64 * len(table))(*table)
        self._places = places


def _cut_runs(starts: list[int]) -> list[tuple[int, int]]:
    """Return runs of tensors, of as many rows as a cache holds, or of one tensor.

    Their norms are taken just before their step: so gradients are read from memory once.
    """
    runs: list[tuple[int, int]] = []
    begin = 0
    for end in range(1, len(starts)):
        if end == len(starts) - 1 or starts[end + 1] - starts[begin] > ROWS_A_RUN:
            runs.append((begin, end))
            begin = end
    return runs


def _take_plain(tensors: StepTensors) -> None:
    """Replace gradients that are no float32, and gate moments in another order, by copies."""
    for index, grad in enumerate(tensors.grads):
        if grad.dtype != torch.float32 or grad.is_neg():
            tensors.grads[index] = grad.resolve_neg().to(torch.float32)
    for index, gate_sq in enumerate(tensors.gate_sqs or ()):
        assert tensors.gate_sqs is not None
        tensors.gate_sqs[index] = fit_tensor(gate_sq, tensors.params[index])


def _read(hyper: Hyper) -> _Hyper:
    """Return the numbers of a step in float32, each rounded once."""
    lr = float(hyper.lr)
    return _Hyper(
        lr,
        1 - lr * hyper.weight_decay,
        hyper.beta1,
        1 - hyper.beta1,
        hyper.beta2,
        1 - hyper.beta2,
        hyper.floor(torch.float32),
        hyper.alignment,
        hyper.solid_gain,
    )
