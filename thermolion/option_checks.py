"""Checks of the options of an optimizer; an error names the option, its value and its range.

All raise TypeError for a wrong type and ValueError for a value out of range. An option has one
range, whichever optimizer has it.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from numbers import Integral, Real
from typing import Any

from torch import Tensor

_AT_LEAST_ZERO = "a number, 0 or more, finite"


def check_at_least_zero(name: str, value: Any) -> None:
    """Accept finite numbers, 0 or more."""
    _check_number(name, value, _AT_LEAST_ZERO)
    _check(name, value, 0 <= value < math.inf, _AT_LEAST_ZERO)


def check_rate(name: str, value: Any) -> None:
    """Accept a learning rate: a finite number, 0 or more, or a tensor of one such element."""
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(
                f"{name} is a tensor of shape {tuple(value.shape)}, it must have one element: "
                "a rate of its own takes a parameter group"
            )
        value = value.item()
    check_at_least_zero(name, value)


def check_fraction(name: str, value: Any, *, ends: str = "[)") -> None:
    """Accept numbers between 0 and 1; `ends` says which of the two are included."""
    words = f"a number in {ends[0]}0, 1{ends[1]}"
    _check_number(name, value, words)
    above = value >= 0 if ends[0] == "[" else value > 0
    below = value <= 1 if ends[1] == "]" else value < 1
    _check(name, value, above and below, words)


def check_betas(name: str, value: Any) -> None:
    """Accept pairs of numbers in [0, 1)."""
    words = "two numbers in [0, 1)"
    if not isinstance(value, (tuple, list)) or not all(map(_is_number, value)):
        raise TypeError(f"{name} is {_show(value)}, it must be {words}")
    _check(name, value, len(value) == 2 and all(0 <= beta < 1 for beta in value), words)


def check_whole_number(name: str, value: Any, least: int | None = None) -> None:
    """Accept whole numbers, `least` or more."""
    words = "a whole number" if least is None else f"a whole number, {least} or more"
    if not isinstance(value, Integral) or value is True or value is False:
        raise TypeError(f"{name} is {_show(value)}, it must be {words}")
    _check(name, value, least is None or int(value) >= least, words)


def check_flag(name: str, value: Any, *, or_none: bool = False) -> None:
    """Accept True and False, and None if `or_none` says so."""
    if isinstance(value, bool) or (or_none and value is None):
        return
    choices = "True, False, or None to leave it to us" if or_none else "True or False"
    raise TypeError(f"{name} is {_show(value)}, it must be {choices}")


_CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    "lr": check_rate,
    "betas": check_betas,
    **dict.fromkeys(("weight_decay", "eps"), check_at_least_zero),
    **dict.fromkeys(("alignment", "solid_gain", "threshold"), check_at_least_zero),
    **dict.fromkeys(("momentum", "average_from"), check_fraction),
    **dict.fromkeys(("temp_decay", "slow_step"), partial(check_fraction, ends="(]")),
    "seed": check_whole_number,
    **dict.fromkeys(("slow_every", "switch_after"), partial(check_whole_number, least=1)),
    **dict.fromkeys(("steps", "steps_per_epoch"), partial(check_whole_number, least=1)),
    **dict.fromkeys(("noise", "capturable", "maximize"), check_flag),
    **dict.fromkeys(("foreach", "fused"), partial(check_flag, or_none=True)),
}


def check_options(options: Mapping[str, Any], names: Iterable[str]) -> None:
    """Check the options that have these names."""
    for name in names:
        _CHECKS[name](name, options[name])


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_number(name: str, value: Any, words: str) -> None:
    if not _is_number(value):
        raise TypeError(f"{name} is {_show(value)}, it must be {words}")


def _check(name: str, value: Any, good: bool, words: str) -> None:
    if not good:  # also if a comparison with NaN was false
        raise ValueError(f"{name} is {value!r}, it must be {words}")


def _show(value: Any) -> str:
    return "None" if value is None else f"{value!r} ({type(value).__name__})"
