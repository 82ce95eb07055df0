"""What counts as the value of a metric."""

from typing import Any

from torch import Tensor


def number(name: str, value: Any) -> float:
    """Return a metric's value; raises TypeError, with its name, for what is no number."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise TypeError(f"{name} is a tensor of shape {tuple(value.shape)}: log one number")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}): log a number") from error
