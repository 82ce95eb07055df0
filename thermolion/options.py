"""What a parameter group of ThermoLion may be told, checked; takes no step."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from thermolion import noise
from thermolion.gate import GATE_OPTIONS, check_gate


def check(options: Mapping[str, Any]) -> None:
    """Raise ValueError for an option out of range, or for two that exclude each other."""
    lr, betas = options["lr"], options["betas"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(
            f"lr is a tensor of shape {tuple(lr.shape)}, it must have one element: "
            "a rate of its own takes a parameter group"
        )
    _check("lr", lr, 0 <= float(lr) < math.inf, "0 or more, finite")
    fractions = len(betas) == 2 and all(0 <= beta < 1 for beta in betas)
    _check("betas", betas, fractions, "two numbers in [0, 1)")
    decay = options["temp_decay"]
    _check("temp_decay", decay, 0 < decay <= 1, "in (0, 1]")
    for name in ("weight_decay", "eps", "alignment", "solid_gain"):
        _check(name, options[name], 0 <= options[name] < math.inf, "0 or more, finite")
    seed = options["seed"]
    _check("seed", seed, isinstance(seed, int), "a whole number")
    check_gate(*(options[name] for name in GATE_OPTIONS))
    if options["replicas_feed"] == "all" and betas[1] == 0:
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


def _check(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:  # also where a comparison with NaN was false
        raise ValueError(f"{name} is {value!r}, it must be {allowed}")
