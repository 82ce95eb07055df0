"""What a parameter group of ThermoLion may be told, checked; takes no step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from thermolion import legal, noise
from thermolion.gate import GATE_OPTIONS, check_gate


def check(options: Mapping[str, Any]) -> None:
    """Raise for an option that is none, with its name, value and range.

    TypeError for a wrong type; ValueError for a value out of range, and for two options that
    exclude each other.
    """
    legal.rate("lr", options["lr"])
    legal.betas("betas", options["betas"])
    legal.fraction("temp_decay", options["temp_decay"], ends="(]")
    for name in ("weight_decay", "eps", "alignment", "solid_gain"):
        legal.at_least_zero(name, options[name])
    legal.whole("seed", options["seed"])
    for name in ("noise", "capturable", "maximize"):
        legal.flag(name, options[name])
    for name in ("foreach", "fused"):
        legal.flag(name, options[name], or_none=True)
    check_gate(*(options[name] for name in GATE_OPTIONS))
    if options["replicas_feed"] == "all" and options["betas"][1] == 0:
        raise ValueError('betas[1] is 0, with which replicas_feed="all" has nothing to feed')
    if options["foreach"] and options["fused"]:
        raise ValueError("foreach and fused are both true: choose one, or leave both to us")


def param_ids(group: Mapping[str, Any], taken: set[int]) -> list[int]:
    """Return the ids under which the noise knows the parameters of a new group.

    These are the group's own `param_ids`, where it has them; else a digest of each name; else
    the next numbers. `taken` are the ids of the other groups.

    Raises ValueError for ids that are no whole numbers, too many or too few, or not unique.
    """
    count = len(group["params"])
    given = group.get("param_ids")
    if given is not None:
        ids = list(given)
    elif "param_names" in group:
        ids = [noise.digest(name) for name in group["param_names"]]
    else:
        free = (number for number in range(len(taken), 2**63) if number not in taken)
        ids = [next(free) for _ in range(count)]
    whole = all(isinstance(number, int) and 0 <= number < 2**63 for number in ids)
    if not whole or len(ids) != count:
        raise ValueError(
            f"param_ids is {ids!r}, it must be {count} whole numbers from 0 to 2**63-1"
        )
    twice = {number for number in ids if number in taken or ids.count(number) > 1}
    if twice:
        raise ValueError(
            f"param_ids has {min(twice)} twice: two parameters would share their noise"
        )
    return ids


def check_gradient(param: Tensor) -> None:
    """Raise RuntimeError for a gradient that ThermoLion has no step for."""
    grad = param.grad
    assert grad is not None
    if grad.layout != torch.strided or param.is_complex():
        raise RuntimeError(
            f"ThermoLion takes dense real gradients, got {grad.layout}, {grad.dtype}: "
            "use another optimizer for this parameter"
        )
