"""Durations as people write them: 90s, 15min, 2h, 1d."""

import re
from typing import Annotated, Any

from pydantic import PlainValidator

_UNITS_S = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def seconds(value: Any) -> float:
    """Return the seconds of a duration; raises ValueError for anything else."""
    found = re.fullmatch(r"([0-9]+(?:[.][0-9]+)?) ?(s|min|h|d)", str(value))
    if found is None:
        raise ValueError(f"{value!r} is no duration: write a number and s, min, h or d: 15min")
    return float(found[1]) * _UNITS_S[found[2]]


Duration = Annotated[float, PlainValidator(seconds, json_schema_input_type=str)]
