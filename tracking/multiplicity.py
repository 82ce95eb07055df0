"""P-values adjusted for the number of tests. A test without a p-value keeps its place: it counts.

None stands for such a test, in and out (no spread, too few seeds); dropping it would shrink the
family after looking at the data.
"""

from collections.abc import Callable, Sequence

import numpy as np

Adjustment = Callable[[Sequence[float | None]], list[float | None]]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust so that a level bounds the chance of any false rejection (Holm 1979)."""
    p, order = _filled(p_values)
    steps = np.minimum(1.0, (len(p) - np.arange(len(p))) * p[order])
    return _returned(p_values, order, np.maximum.accumulate(steps))


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust so that a level bounds the expected share of false ones among the rejections.

    For exploration only (Benjamini and Hochberg 1995).
    """
    p, order = _filled(p_values)
    steps = np.minimum(1.0, len(p) / (1 + np.arange(len(p))) * p[order])
    return _returned(p_values, order, np.minimum.accumulate(steps[::-1])[::-1])


_Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
_Order = np.ndarray[tuple[int], np.dtype[np.intp]]


def _filled(p_values: Sequence[float | None]) -> tuple[_Floats, _Order]:
    p = np.array([1.0 if value is None else value for value in p_values], dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values lie between 0 and 1: {list(p_values)}")
    return p, np.argsort(p, kind="stable")


def _returned(
    p_values: Sequence[float | None], order: _Order, sorted_values: _Floats
) -> list[float | None]:
    adjusted = np.empty_like(sorted_values)
    adjusted[order] = sorted_values
    return [
        None if p is None else float(value) for p, value in zip(p_values, adjusted, strict=True)
    ]
