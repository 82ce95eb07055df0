"""P-values adjusted for the number of tests. A test without a p-value keeps its place: it counts.

None stands for such a test, in and out (no spread, too few seeds); dropping it would shrink the
family after looking at the data.
"""

from collections.abc import Callable, Iterable, Sequence

from scipy import stats

Adjustment = Callable[[Sequence[float | None]], list[float | None]]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust so that a level bounds the chance of any false rejection (Holm 1979).

    scipy has no such function.
    """
    p = _fill(p_values)
    adjusted = [0.0] * len(p)
    least = 0.0  # an adjusted p-value is no less than those of the steps before
    for step, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        adjusted[place] = least = max(least, min(1.0, (len(p) - step) * p[place]))
    return _restore(p_values, adjusted)


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust so that a level bounds the expected share of false ones among the rejections.

    For exploration only (Benjamini and Hochberg 1995).
    """
    return _restore(p_values, stats.false_discovery_control(_fill(p_values)))


def _fill(p_values: Sequence[float | None]) -> list[float]:
    p = [1.0 if value is None else float(value) for value in p_values]
    if not all(0 <= value <= 1 for value in p):
        raise ValueError(f"p-values lie between 0 and 1: {list(p_values)}")
    return p


def _restore(p_values: Sequence[float | None], adjusted: Iterable[float]) -> list[float | None]:
    pairs = zip(p_values, adjusted, strict=True)
    return [None if p is None else float(value) for p, value in pairs]
