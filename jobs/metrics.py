"""What counts as the value of a metric."""

import contextlib
from typing import Any

from torch import Tensor


def number(name: str, value: Any) -> float:
    """Return a metric's value; raises TypeError, with its name, for what is no number."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise TypeError(f"{name} is a tensor of shape {tuple(value.shape)}: log one number")
    if not isinstance(value, (str, bytes)):  # float would read a number in a text
        with contextlib.suppress(TypeError, ValueError):
            return float(value)
    raise TypeError(f"{name} is {value!r} ({type(value).__name__}): log a number")
