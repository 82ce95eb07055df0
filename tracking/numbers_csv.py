"""Every number of a comparison as CSV: one file for each kind of record, one row for each record.

Full precision; empty cells where a number does not exist. The trials themselves are in data.csv.
"""

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tracking.comparison import Comparison


def numbers_csv(comparison: Comparison) -> Mapping[str, str]:
    """Return the text of every file, by its name."""
    answers = (*comparison.pooled, *comparison.by_workload)
    return {
        "answers.csv": _csv(_flat(one, leave=("paired",)) for one in answers),
        "pairs.csv": _csv(
            {
                "candidate": one.question.candidate,
                "baseline": one.question.baseline,
                "endpoint": one.endpoint,
                "measure": one.measure,
                "unit": one.unit,
                "workload": one.workload,
                "block": block,
                "difference": difference,
            }
            for one in comparison.by_workload
            for block, difference in one.paired
        ),
        "level_b.csv": _csv(_flat(one) for one in comparison.level_b),
        "failures.csv": _csv(_flat(one) for one in comparison.failures),
        "speedups.csv": _csv(_flat(one) for one in comparison.time_to_target.speedups),
        "steps_to_target.csv": _csv(_flat(one) for one in comparison.time_to_target.arms),
        "candidates.csv": _csv(_flat(one) for one in comparison.summaries),
    }


def _flat(record: Any, leave: Sequence[str] = ()) -> dict[str, Any]:
    """Return the fields of a record and of the records inside it, named by the way to them."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if field.name in leave:
            continue
        if dataclasses.is_dataclass(value):
            # A question is read as the names of its two sides.
            prefix = "" if field.name == "question" else f"{field.name}_"
            flat |= {f"{prefix}{name}": inner for name, inner in _flat(value).items()}
        else:
            flat[field.name] = value
    return flat


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows with the columns of all of them, in order of first appearance."""
    listed = list(rows)
    # A record that is missing in one row has no columns there, only its own empty name.
    columns = list(dict.fromkeys(name for row in listed for name in row))
    nested = {name for name in columns if any(c.startswith(f"{name}_") for c in columns)}
    kept = [name for name in columns if name not in nested or any(row.get(name) for row in listed)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(kept)
    writer.writerows([_cell(row.get(name)) for name in kept] for row in listed)
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return "; ".join(_parts(value))
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return "" if value is None else str(value)


def _parts(values: tuple[Any, ...]) -> Iterator[str]:
    for value in values:
        yield ": ".join(map(_cell, value)) if isinstance(value, tuple) else _cell(value)
