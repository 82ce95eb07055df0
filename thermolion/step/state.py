"""What a step of ThermoLion is computed from: the state of a parameter, numbers, lists of tensors.

In a state, `step` counts steps, `exp_avg` is m and `exp_avg_sq` is v; only with noise, there are
`exp_avg_sq_mean`, mean(v), and `param_id`, the number by which the noise knows the parameter. The
temperature is not in it: it follows from the step.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thermolion.step.exploration import is_dense, same_layout, wide
from thermolion.step.sharding import is_sharded, to_local
from thermolion.step.transfer import COLD, is_capturing, to_other_device

MEAN_SQUARE = "exp_avg_sq_mean"
# An int64 tensor, which follows its parameter if torch loads a state by name; a plain number would
# stay behind in a distributed checkpoint.
PARAM_ID = "param_id"
# Of `gate="replicas"`: the second moment at the reference batch, for the gate alone.
GATE_SQUARE = "gate_avg_sq"


def ensure_state(state: dict[str, Any], param: Tensor, group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a parameter, initialised if it is empty."""
    if "exp_avg" not in state:
        device = param.device if group["capturable"] or group["fused"] else torch.device("cpu")
        state["step"] = torch.zeros((), dtype=torch.float32, device=device)
        state["exp_avg"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        state["exp_avg_sq"] = torch.zeros_like(param, memory_format=torch.preserve_format)
    return state


def compute_mean(exp_avg_sq: Tensor) -> Tensor:
    """Return the mean over a whole tensor, 0-dim, in a fine type; collective if it is sharded."""
    total: Any = exp_avg_sq.sum(dtype=wide(exp_avg_sq.dtype))
    whole: Tensor = total.full_tensor() if is_sharded(exp_avg_sq) else total
    return whole / max(1, exp_avg_sq.numel())


def mean_square(state: dict[str, Any]) -> Tensor:
    """Return mean(v) before this step, 0-dim; computed from v if the state lacks it."""
    if MEAN_SQUARE not in state:
        state[MEAN_SQUARE] = compute_mean(state["exp_avg_sq"])
    mean: Tensor = state[MEAN_SQUARE]
    return mean


@dataclass(frozen=True)
class Hyper:
    """The numbers of a step; a learning rate that is a tensor is not read by the host."""

    lr: float | Tensor
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    alignment: float
    solid_gain: float

    def bound(self, dtype: torch.dtype) -> float | None:
        """Return what |m|/√v can never exceed, if v may underflow in `dtype`.

        By the inequality of Cauchy and Schwarz, from the weights of both averages. None if no
        clamp is needed: in other types than float16, ε is large enough.
        """
        share = 1 - self.beta1**2 / self.beta2 if self.beta2 else 0.0
        if dtype != torch.float16 or share <= 0:
            return None
        return (1 - self.beta1) / math.sqrt((1 - self.beta2) * share)

    def floor(self, dtype: torch.dtype) -> float:
        """Return ε, or the smallest number of `dtype` above zero if that is greater."""
        return max(self.eps, torch.finfo(dtype).tiny)


@dataclass
class StepTensors:
    """The tensors of one step, in lists of equal length, all of one dtype and device.

    If `gate_sqs` is given, it is the second moment of the gate alone, and the magnitude step
    keeps `exp_avg_sqs`. If `directions` is given, a step writes u of θ ← θ·(1 - lr·wd) - lr·u
    into it and leaves `params` as they are, for `foreach.apply_`.
    """

    params: list[Tensor]
    grads: list[Tensor]
    exp_avgs: list[Tensor]
    exp_avg_sqs: list[Tensor]
    gate_sqs: list[Tensor] | None = None
    directions: list[Tensor] | None = None


def fit_states(tensors: StepTensors, states: Sequence[dict[str, Any]]) -> bool:
    """Bring states to the type, device and order in memory of their parameters; True if any moved.

    They are so unless a parameter has been given other memory, or a state has been loaded that
    another model has saved: what reads memory as it lies needs it, torch's operations do not.
    Raises RuntimeError for a state of another shape, and in a capture.
    """
    changed = False
    for index, (param, state) in enumerate(zip(tensors.params, states, strict=True)):
        for name, held in (("exp_avg", tensors.exp_avgs), ("exp_avg_sq", tensors.exp_avg_sqs)):
            fit = fit_tensor(held[index], param)
            if fit is not held[index]:
                _refuse_capture(param)
                state[name] = fit.view_as(state[name])
                held[index], changed = fit, True
        for name in {"step", MEAN_SQUARE} & state.keys():
            number = state[name]
            if number.dtype != torch.float32 or number.device != param.device:
                _refuse_capture(param)
                state[name], changed = number.to(param.device, torch.float32), True
    return changed


def _refuse_capture(param: Tensor) -> None:
    """Raise RuntimeError in a capture: every replay would change the state once more."""
    if is_capturing(param.device):
        raise RuntimeError(COLD)


def fit_tensor(tensor: Tensor, param: Tensor) -> Tensor:
    """Return a tensor in the type and the order in memory of a parameter, itself if it is so."""
    if tensor.shape != param.shape:
        raise RuntimeError(
            f"a parameter of shape {tuple(param.shape)} has a state of shape "
            f"{tuple(tensor.shape)}: it was given other data after the first step"
        )
    if tensor.dtype == param.dtype and same_layout(param, tensor):
        return tensor
    return torch.empty_like(param).copy_(tensor)


def local_gradient(param: Tensor) -> Tensor:
    """Return what this rank holds of the gradient, in the type and layout of its parameter."""
    assert param.grad is not None
    grad, param = to_local(param.grad), to_local(param)
    if grad.dtype == param.dtype and (same_layout(param, grad) or not is_dense(param)):
        return grad
    return torch.empty_like(param).copy_(grad)


def to_array(tensor: Tensor) -> Tensor:
    """Return what this rank holds of a tensor; a 0-dim tensor as an array of one element.

    torch rounds the two differently, and all forms of the step must round alike.
    """
    tensor = to_local(tensor)
    return tensor if tensor.dim() else tensor.unsqueeze(0)


def read_hyper(group: Mapping[str, Any], device: torch.device) -> Hyper:
    """Return the numbers of a parameter group for tensors on a device.

    A rate that is a tensor is read only if no device is waited for. Raises RuntimeError for one
    on the CPU in a capture, whose replays would not see it change.
    """
    lr = group["lr"]
    if isinstance(lr, Tensor):
        if lr.device.type == "cpu" and is_capturing(device):
            raise RuntimeError(
                "lr is a tensor on the CPU, which a CUDA graph does not read again: make it one "
                f"on {device}"
            )
        if lr.device.type == "cpu" and (device.type != "cpu" or not group["capturable"]):
            lr = float(lr)
        else:
            lr = to_other_device(lr, device).reshape(())
    beta1, beta2 = group["betas"]
    rest = (group[name] for name in ("eps", "weight_decay", "alignment", "solid_gain"))
    return Hyper(lr, beta1, beta2, *rest)
