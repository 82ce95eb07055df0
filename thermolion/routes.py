"""Which form of the step a tensor takes: for-loop, foreach or fused. Takes no step itself."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from torch import Tensor
from torch.nn import Parameter

from thermolion import fused
from thermolion.exploration import is_dense


class Route(Enum):
    """The forms of the step; foreach has one for a CPU and one for accelerators."""

    LOOP = "for-loop"
    CHUNKS = "foreach, in chunks"
    LISTS = "foreach, on lists"
    FUSED = "fused"


def check(group: Mapping[str, Any]) -> None:
    """Raise ValueError where a form that a group asks for cannot take one of its parameters."""
    for param in group["params"]:
        if group["fused"]:
            reason = fused.refusal(param)
            if reason is not None:
                raise ValueError(f"fused is true, but {reason}: leave it out, or set foreach")
        if group["foreach"] and not _is_plain(param):
            raise ValueError(
                f"foreach is true, but a parameter is a {type(param).__name__}, whose memory may "
                "not be what it seems: leave it out to have this one stepped by itself"
            )


def route(group: Mapping[str, Any], param: Tensor) -> Route:
    """Return the form that the step of a parameter takes."""
    if group["fused"]:
        return Route.FUSED if is_dense(param) else Route.LOOP
    if group["foreach"] is False or not _is_plain(param):
        return Route.LOOP
    if param.device.type == "cpu" and not group["capturable"]:
        return Route.CHUNKS
    if param.device.type in ("cpu", "cuda", "xpu") or group["foreach"]:
        return Route.LISTS
    return Route.LOOP


def _is_plain(param: Tensor) -> bool:
    """Whether a parameter is no subclass that spreads or wraps its memory, as torch asks, too."""
    return type(param) in (Tensor, Parameter)
