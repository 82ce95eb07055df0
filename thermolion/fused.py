"""ThermoLion's step in one pass over p, g, m and v, written in Triton for CUDA.

Importable without Triton; `refusal` says why a parameter cannot be stepped here.
"""

import importlib.util

from torch import Tensor

from thermolion.exploration import Amp, Exploration, Rows, is_dense
from thermolion.work import Rates, Work


def refusal(param: Tensor) -> str | None:
    """Say what keeps a parameter from a fused step, or None."""
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if param.device.type != "cuda":
        return f"a parameter is on {param.device.type}, fused steps are for cuda"
    if not is_dense(param):
        return "a parameter is a view that leaves out some of its memory"
    return None


def step(
    work: Work, rates: Rates, exploration: Exploration | None, rows: Rows, amp: Amp | None
) -> None:
    """Take a step of `work`, in place."""
    raise NotImplementedError
