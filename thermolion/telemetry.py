"""What the last step did in each layer, computed from the optimizer's state on request.

Changes nothing, keeps nothing, and reduces nothing over ranks; a step does not depend on it.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thermolion.step.exploration import temperature_at, wide
from thermolion.step.sharding import to_local
from thermolion.step.state import GATE_SQUARE, Hyper, local_gradient, read_hyper

# An element is gas if its gate is below this: the sign has the greater weight in its step.
GAS_BELOW = 0.5


@dataclass(frozen=True)
class Layer:
    """What the last step did in one parameter tensor: means and shares over its elements.

    `gate` is the mean of λ = tanh(|m|/(√v + ε)), from 0 (the sign step alone) to 1 (the magnitude
    step alone); `gas` the share of elements with λ < 0.5. `alignment` is the share in which m and
    the gradient agree in sign, None if the gradient has been cleared. `temperature` is T of the
    noise, None without noise; the step leaves the noise out once T ≤ 0.01.

    `bitrate` is defined here, not in the paper: the bits that an element of the update would take,
    1 for a sign and the width of the type (32 for float32) for a magnitude, weighted by the gate:
    the mean of (1-λ) + width·λ. Nothing is sent or compressed.
    """

    gate: float
    gas: float
    alignment: float | None
    temperature: float | None
    bitrate: float


@dataclass(frozen=True)
class _Measurement:
    """What has been measured of a tensor: `numbers` (4,), float64, still on its device."""

    numbers: Tensor  # mean gate, share of gas, share aligned, step
    has_gradient: bool
    decay: float | None
    width: int

    def to_layer(self, gate: float, gas: float, aligned: float, step: float) -> Layer:
        """Return the layer of these `numbers`, which have been read from the device."""
        return Layer(
            gate=gate,
            gas=gas,
            alignment=aligned if self.has_gradient else None,
            temperature=None if self.decay is None else temperature_at(self.decay, int(step)),
            bitrate=1 + (self.width - 1) * gate,
        )


def measure_layers(
    groups: Iterable[Mapping[str, Any]],
    states: Mapping[Tensor, Mapping[str, Any]],
    names: Mapping[Tensor, str] | None = None,
) -> dict[str, Layer]:
    """Return what the last step did, by name of parameter, in the order of the groups.

    Names are those of `names`, else those of the groups, else "0", "1" and so on by place. Left
    out are parameters that have taken no step yet, and empty ones. Of a sharded one, it is the
    part that this rank holds; for `gate="local"`, this rank's own moments. Waits for each device
    once.
    """
    measured: dict[str, _Measurement] = {}
    places = itertools.count()
    for group in groups:
        defaults = group.get("param_names") or [str(next(places)) for _ in group["params"]]
        for param, name in zip(group["params"], defaults, strict=True):
            state = states.get(param, {})
            if "exp_avg" in state and to_local(param).numel():
                hyper = read_hyper(group, param.device)
                measured[(names or {}).get(param, name)] = _measure(param, state, group, hyper)
    numbers: dict[str, list[float]] = {}
    for device in {one.numbers.device for one in measured.values()}:
        here = [name for name, one in measured.items() if one.numbers.device == device]
        rows = torch.stack([measured[name].numbers for name in here]).tolist()
        numbers.update(zip(here, rows, strict=True))
    return {name: one.to_layer(*numbers[name]) for name, one in measured.items()}


def _measure(
    param: Tensor, state: Mapping[str, Any], group: Mapping[str, Any], hyper: Hyper
) -> _Measurement:
    exp_avg = to_local(state["exp_avg"])
    gates = _gates(exp_avg, state, group, hyper)
    aligned = torch.zeros_like(gates[:0].sum())
    if param.grad is not None:
        sign = local_gradient(param).sign().mul_(-1 if group["maximize"] else 1)
        aligned = (exp_avg.sign() * sign > 0).to(gates.dtype).mean()
    gas = (gates < GAS_BELOW).to(gates.dtype).mean()
    step = state["step"].to(gates.device)
    return _Measurement(
        numbers=torch.stack([one.double() for one in (gates.mean(), gas, aligned, step)]),
        has_gradient=param.grad is not None,
        decay=group["temp_decay"] if group["noise"] else None,
        width=8 * param.element_size(),
    )


def _gates(
    exp_avg: Tensor, state: Mapping[str, Any], group: Mapping[str, Any], hyper: Hyper
) -> Tensor:
    """Return λ of every element, flat, in float32 or finer."""
    options = (group["gate"], group["replicas_feed"])
    has_square = GATE_SQUARE in state and options == ("replicas", "gate")
    square = to_local(state[GATE_SQUARE if has_square else "exp_avg_sq"])
    fine = wide(exp_avg.dtype)
    # A step with few samples may have left negative elements; the step clamps them as well.
    root = square.to(fine).clamp_min(0).sqrt_().add_(hyper.floor(exp_avg.dtype))
    ratio = exp_avg.to(fine).abs().div(root)
    bound = hyper.bound(exp_avg.dtype)
    if bound is not None and not has_square:
        ratio.clamp_(max=bound)
    return ratio.tanh_().flatten()
