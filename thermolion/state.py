"""The state of one parameter of ThermoLion: how it begins, and what is made up where it lacks.

`step` counts its steps, `exp_avg` is m, `exp_avg_sq` is v, and `exp_avg_sq_mean` is mean(v), which
exists where there is noise. The temperature is none: it follows from the step.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from thermolion.exploration import wide
from thermolion.shards import is_sharded

MEAN_SQUARE = "exp_avg_sq_mean"
# Of `gate="replicas"`: the second moment at the reference batch, for the gate alone.
GATE_SQUARE = "gate_avg_sq"


def begun(state: dict[str, Any], param: Tensor, group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a parameter, after making it where there is none yet."""
    if "exp_avg" not in state:
        on_device = group["capturable"] or group["fused"]
        device = param.device if on_device else torch.device("cpu")
        state["step"] = torch.zeros((), dtype=torch.float32, device=device)
        state["exp_avg"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        state["exp_avg_sq"] = torch.zeros_like(param, memory_format=torch.preserve_format)
    return state


def mean_of(exp_avg_sq: Tensor) -> Tensor:
    """Return the mean over a whole tensor, 0-dim, in a fine type; collective if it is sharded."""
    total: Any = exp_avg_sq.sum(dtype=wide(exp_avg_sq.dtype))
    whole: Tensor = total.full_tensor() if is_sharded(exp_avg_sq) else total
    return whole / max(1, exp_avg_sq.numel())


def mean_square(state: dict[str, Any]) -> Tensor:
    """Return mean(v) before this step, 0-dim; of v itself where the state comes from elsewhere."""
    if MEAN_SQUARE not in state:
        state[MEAN_SQUARE] = mean_of(state["exp_avg_sq"])
    mean: Tensor = state[MEAN_SQUARE]
    return mean
