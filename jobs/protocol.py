"""What a line of $THERMOLION_LOG says: metrics at a step, or final ones. Standard library only.

docs/bring-your-own-training.md has the words for users.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thermolion.errors import InputError

_SPELLED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_SHOWN = 200  # characters of a line that is none


@dataclass(frozen=True)
class Line:
    """Metrics by name; `step` None stands for final ones."""

    step: int | None
    metrics: Mapping[str, float]


class LineError(InputError, ValueError):
    """A line that is none of the protocol, with what would be."""


def parse(raw: bytes) -> Line:
    """Read one line; raises LineError, which shows it."""
    try:
        record = json.loads(raw)
        if not isinstance(record, dict):
            raise ValueError("it is no JSON object")
        if "final" in record:
            return Line(None, _metrics(record["final"]))
        return Line(_step(record.pop("step")), _metrics(record))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        why = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise LineError(
            f"$THERMOLION_LOG has a line that cannot be read ({why}): "
            f"{raw.decode(errors='replace')[:_SHOWN]!r}; write "
            '{"step": 10, "val_accuracy": 0.91} or {"final": {"test_accuracy": 0.93}}, one a line'
        ) from error


def _step(value: Any) -> int:
    whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value)
    if not whole or value < 0:
        raise ValueError(f"step is {value!r}, it must be a whole number, 0 or more")
    return int(value)


def _metrics(record: Any) -> dict[str, float]:
    if not isinstance(record, dict):
        raise ValueError(f"{record!r} has no names of metrics")
    metrics = {name: _number(name, value) for name, value in record.items()}
    if not metrics:
        raise ValueError("it has no metric")
    return metrics


def _number(name: str, value: Any) -> float:
    number = _SPELLED.get(value.lower()) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise ValueError(f"{name} is {value!r}, it must be a number")
    return float(number)
