"""ThermoLion's step in one pass over p, g, m and v, for a CPU: what calls the C of `one_pass.c`.

For float32 in dense memory. m and v are those of `reference` to the bit, and so is mean(v);
weights are within the rounding of a hyperbolic tangent, a logarithm, a sine and a cosine.
"""

import ctypes
import os

import torch
from torch import Tensor

from thermolion.step.c_library import CompilerError, load_library
from thermolion.step.exploration import Exploration, Rows
from thermolion.step.noise import ROW, row_words
from thermolion.step.state import Hyper, StepTensors

# With fewer rows for each thread than this, waking a thread costs more than it does.
ROWS_A_THREAD = 32
_COLUMNS = 8  # of the struct Tensor in C
# Triton's interpreter runs the GPU's kernel on the CPU: so it is tested without a GPU.
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


class _Hyper(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_float)
        for name in "lr decay beta1 gain1 beta2 gain2 eps alignment solid_gain".split()
    )


class _Noise(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in ("words", "keys", "scales"))


def is_meant(param: Tensor) -> bool:
    """Return True if a fused step of a parameter is the one in C, and not that of a GPU."""
    return param.is_cpu and not _INTERPRETED


def find_refusal() -> str | None:
    """Return why there can be no step in C on this machine, None if there can; compiles it."""
    try:
        load_library()
    except CompilerError as error:
        return f"its step on a CPU is written in C: {error}"
    return None


class OnePass:
    """Take the steps of one group of tensors; keeps the table of their addresses."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self._step = load_library().thermolion_step
        self._step.restype = None
        self._words = row_words()
        self._places: list[int] = []
        self._table = ctypes.c_void_p()

    def step(
        self, tensors: StepTensors, hyper: Hyper, exploration: Exploration | None
    ) -> None:
        """Take a step of `tensors`, in place; see `StepTensors` for its optional lists."""
        rows = self.rows.starts[-1]
        if rows == 0:
            return
        self._point(tensors)
        noise = None
        if exploration is not None:
            keys = exploration.keys.contiguous()
            scales = exploration.scales.to(torch.float32)
            noise = ctypes.byref(
                _Noise(self._words.data_ptr(), keys.data_ptr(), scales.data_ptr())
            )
        self._step(
            self._table,
            ctypes.c_int64(len(tensors.params)),
            ctypes.c_int64(rows),
            ctypes.byref(_read(hyper)),
            noise,
            tensors.gate_sqs is not None,
            tensors.directions is not None,
            max(1, min(torch.get_num_threads(), rows // ROWS_A_THREAD)),
        )

    def _point(self, tensors: StepTensors) -> None:
        """Bring the table of addresses up to date: gradients often lie where they lay before."""
        moved = tensors.params if tensors.directions is None else tensors.directions
        gates = tensors.exp_avg_sqs if tensors.gate_sqs is None else tensors.gate_sqs
        lists = (moved, tensors.grads, tensors.exp_avgs, tensors.exp_avg_sqs, gates)
        places = [tensor.data_ptr() for each in lists for tensor in each]
        if places == self._places:
            return
        count = len(tensors.params)
        counts = [part.count for part in self.rows.parts]
        table = [0] * (_COLUMNS * count)
        for column in range(len(lists)):
            table[column::_COLUMNS] = places[column * count : (column + 1) * count]
        table[5::_COLUMNS] = counts
        table[6::_COLUMNS] = self.rows.starts[:-1]
        table[7::_COLUMNS] = self.rows.skips
        self._table = (ctypes.c_int64 * len(table))(*table)
        self._places = places


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
