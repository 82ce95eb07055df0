"""Which form of the step a tensor takes (loop, chunks, lists, fused, C), and what each keeps."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from thermolion.step import foreach, fused, one_pass, reference
from thermolion.step.cpu import Chunks
from thermolion.step.exploration import Amp, Exploration, Rows, is_dense
from thermolion.step.fused import Launcher
from thermolion.step.one_pass import OnePass
from thermolion.step.sharding import PLAIN, is_sharded
from thermolion.step.state import Hyper, StepTensors


class Route(Enum):
    """The forms of the step; foreach has one for a CPU and one for accelerators."""

    LOOP = "for-loop"
    CHUNKS = "foreach, in chunks"
    LISTS = "foreach, on lists"
    FUSED = "fused"
    ONE_PASS = "fused, on a CPU"


def check_forms(group: Mapping[str, Any]) -> None:
    """Raise ValueError if the form that a group asks for cannot take one of its parameters."""
    for param in group["params"]:
        if group["fused"]:
            reason = _find_refusal(param)
            if reason is not None:
                others = ", or set foreach" if _is_plain(param) else ""
                raise ValueError(f"fused is true, but {reason}: leave fused out{others}")
        if group["foreach"] and not _is_plain(param):
            raise ValueError(
                f"foreach is true, but a parameter is a {type(param).__name__}, whose memory may "
                "not be what it seems: leave it out to have this one stepped by itself"
            )


def choose_route(group: Mapping[str, Any], param: Tensor) -> Route:
    """Return the form that the step of a parameter takes."""
    if group["fused"] and not one_pass.is_meant(param):
        return Route.FUSED if is_dense(param) and not param.is_neg() else Route.LOOP
    if group["fused"] and _fits_one_pass(param):
        return Route.ONE_PASS
    if group["foreach"] is False or not _is_plain(param):
        return Route.LOOP
    if param.device.type == "cpu" and not group["capturable"]:
        return Route.CHUNKS
    if param.device.type in ("cpu", "cuda", "xpu") or group["foreach"]:
        return Route.LISTS
    return Route.LOOP


def _find_refusal(param: Tensor) -> str | None:
    """Return why a parameter cannot take a fused step, None if it can, or takes another on a CPU.

    A float32 parameter on a CPU asks for a C compiler, all others there for nothing.
    """
    if not one_pass.is_meant(param) or is_sharded(param):
        return fused.find_refusal(param)
    return one_pass.find_refusal() if _fits_one_pass(param) else None


def _fits_one_pass(param: Tensor) -> bool:
    return (
        param.dtype == torch.float32
        and _is_plain(param)
        and (param.is_contiguous() or is_dense(param))
    )


def _is_plain(param: Tensor) -> bool:
    """Return True if a parameter's memory is what it reads as.

    That of a subclass of Tensor may be elsewhere, and a view may negate what lies there.
    """
    return type(param) in PLAIN and not param.is_neg()


class Forms:
    """Take the steps of one optimizer; what it caches may be dropped between two of them."""

    def __init__(self) -> None:
        self._chunks: dict[torch.dtype, Chunks] = {}
        self._launchers: dict[object, Launcher] = {}
        self._passes: dict[object, OnePass] = {}

    def step(
        self,
        route: Route,
        tensors: StepTensors,
        hyper: Hyper,
        exploration: Exploration | None,
        key: object,
    ) -> None:
        """Take a step of `tensors`, all of one device and type, in the form of `route`.

        A gate over ranks fills `tensors.gate_sqs` to gate on another second moment than
        `exp_avg_sqs`, or `tensors.directions` to find the updates there, not yet applied; it
        calls `foreach.apply_` with their mean. What is kept for the next step is kept by `key`.
        The fused forms are `launch` and `step_in_one_pass`.
        """
        if route is Route.LOOP:
            reference.step(tensors, hyper, exploration)
        elif route is Route.LISTS:
            foreach.step(tensors, hyper, exploration)
        else:
            dtype = tensors.params[0].dtype
            if dtype not in self._chunks:
                self._chunks[dtype] = Chunks(dtype)
            self._chunks[dtype].step(tensors, hyper, exploration, key)

    def step_in_one_pass(
        self,
        tensors: StepTensors,
        states: Sequence[dict[str, Any]],
        hyper: Hyper,
        temp_decay: float | None,
        rows: Rows,
        key: object,
    ) -> None:
        """Take a step as `step` does, in C on a CPU, and count it in `states`; see `OnePass`."""
        if key not in self._passes or self._passes[key].rows is not rows:
            self._passes[key] = OnePass(rows)
        self._passes[key].step(tensors, states, hyper, temp_decay)

    def launch(
        self,
        tensors: StepTensors,
        states: Sequence[dict[str, Any]],
        hyper: Hyper,
        temp_decay: float | None,
        rows: Rows,
        key: object,
        amp: Amp | None,
    ) -> Launcher:
        """Take a fused step as `step` does, count it in `states`, and return what launched it."""
        if key not in self._launchers or self._launchers[key].rows is not rows:
            self._launchers[key] = Launcher(rows, tensors.params[0].device)
        self._launchers[key].step(tensors, states, hyper, temp_decay, amp)
        return self._launchers[key]
