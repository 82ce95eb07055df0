"""Checks of the options of an optimizer; an error names the option, its value and its range.

All raise TypeError for a wrong type and ValueError for a value out of range. An option has one
range, whichever optimizer has it, and the registry has those of numbers.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from numbers import Integral, Real
from typing import Any

from torch import Tensor

from thermolion.registry import RANGES


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _show(value: Any) -> str:
    return "None" if value is None else f"{value!r} ({type(value).__name__})"


def _check_number(name: str, value: Any) -> None:
    is_legal, words = RANGES[name]
    if not _is_number(value):
        raise TypeError(f"{name} is {_show(value)}, it must be {words}")
    if not is_legal(value):
        raise ValueError(f"{name} is {value!r}, it must be {words}")


def _check_rate(name: str, value: Any) -> None:
    """Accept a learning rate: a finite number, 0 or more, or a tensor of one such element."""
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(
                f"{name} is a tensor of shape {tuple(value.shape)}, it must have one element: "
                "a rate of its own takes a parameter group"
            )
        value = value.item()
    _check_number(name, value)


def _check_betas(name: str, value: Any) -> None:
    is_legal, words = RANGES[name]
    if not isinstance(value, (tuple, list)) or not all(map(_is_number, value)):
        raise TypeError(f"{name} is {_show(value)}, it must be {words}")
    if len(value) != 2 or not all(map(is_legal, value)):
        raise ValueError(f"{name} is {value!r}, it must be {words}")


def _check_whole_number(name: str, value: Any, least: int | None = None) -> None:
    """Accept whole numbers, `least` or more."""
    words = "a whole number" if least is None else f"a whole number, {least} or more"
    if not isinstance(value, Integral) or value is True or value is False:
        raise TypeError(f"{name} is {_show(value)}, it must be {words}")
    if least is not None and int(value) < least:
        raise ValueError(f"{name} is {value!r}, it must be {words}")


def _check_flag(name: str, value: Any, *, or_none: bool = False) -> None:
    """Accept True and False, and None if `or_none` says so."""
    if isinstance(value, bool) or (or_none and value is None):
        return
    choices = "True, False, or None to leave it to us" if or_none else "True or False"
    raise TypeError(f"{name} is {_show(value)}, it must be {choices}")


_check_count = partial(_check_whole_number, least=1)
# Of options that are no plain number in the range that the registry has for it.
_CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    "lr": _check_rate,
    "betas": _check_betas,
    "seed": _check_whole_number,
    **dict.fromkeys(("slow_every", "switch_after", "steps", "steps_per_epoch"), _check_count),
    **dict.fromkeys(("noise", "capturable", "maximize"), _check_flag),
    **dict.fromkeys(("foreach", "fused"), partial(_check_flag, or_none=True)),
}


def check_options(options: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise TypeError or ValueError for the first of these options that is illegal."""
    for name in names:
        _CHECKS.get(name, _check_number)(name, options[name])
