"""Numbers as text: percentage points by two digits, whatever is plain by what it is worth.

A dash stands for a number that does not exist. Knows no comparison.
"""

import math

from jobs.trial import Reading
from tracking.estimates import Estimate
from tracking.scale import PP

_SMALLEST_P = 1e-9  # below, the tail of a distribution is no longer that of any data
_DASH = "–"  # noqa: RUF001 - a dash on purpose


def signed(value: float | None, unit: str = PP) -> str:
    """Format a difference, with its sign."""
    if value is None:
        return _DASH
    return f"{value:+.{2 if unit == PP else _decimals(value, 3)}f}"


def number(value: float | None, digits: int = 2) -> str:
    """Format a number."""
    return _DASH if value is None else f"{value:.{digits}f}"


def level(value: float | None, reading: Reading) -> str:
    """Format a score: in percent, or in the unit of its metric."""
    plain = value is not None and reading.unit == "plain"
    return number(value, _decimals(value, 4) if plain and value is not None else 2)


def size(value: float | None, unit: str = PP) -> str:
    """Format the size of a difference, which has no sign."""
    return number(value, 2 if unit == PP or value is None else _decimals(value, 3))


def suffix(unit: str) -> str:
    """Return what follows a difference: a plain unit has no name of its own."""
    return " pp" if unit == PP else ""


def p_value(p: float | None) -> str:
    """Format a p-value to what anybody can use."""
    if p is None:
        return number(None)
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def small_p(p: float | None) -> str:
    """Format a p-value beside limits that are small ones."""
    if p is None:
        return number(None)
    return f"{p:.2g}" if p >= _SMALLEST_P else f"<{_SMALLEST_P:.0e}"


def p_relation(p: float | None) -> str:
    """Format a p-value as it follows its name in a sentence."""
    text = p_value(p)
    return text.replace("<", "< ") if text.startswith("<") else f"= {text}"


def interval(estimate: Estimate, unit: str = PP) -> str:
    """Format a 95% interval; empty where there is none."""
    if estimate.low is None:
        return ""
    return f"[{signed(estimate.low, unit)}, {signed(estimate.high, unit)}]"


def _decimals(value: float, significant: int) -> int:
    """Return how many decimals show this many significant digits, at most eight."""
    if value == 0 or not math.isfinite(value):
        return 2
    return min(8, max(0, significant - 1 - math.floor(math.log10(abs(value)))))
