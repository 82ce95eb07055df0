"""Every number of a comparison as rows: a table for each kind of record, a row for each record.

As CSV in full precision, with an empty cell for a number that does not exist. The trials
themselves are in data.csv. The writer is that of the standard library: pandas would print what
`_cell` has to spell before it, and take half a second to load.
"""

import csv
import dataclasses
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracking import tuning_text
from tracking.appendix import Appendix
from tracking.comparison import Comparison
from tracking.question import Endpoint

Rows = Sequence[Mapping[str, Any]]


def numbers(comparison: Comparison, appendix: Appendix) -> Mapping[str, Rows]:
    """Return the rows of every table, by its name."""
    answers = (*comparison.pooled, *comparison.by_workload)
    tables: Mapping[str, Sequence[Any]] = {
        "level_b": comparison.level_b,
        "failures": comparison.failures,
        "looks": comparison.ledger,
        "speedups": comparison.time_to_target.speedups,
        "steps_to_target": comparison.time_to_target.arms,
        "candidates": comparison.summaries,
        "rankings": comparison.rankings,
        "limits": appendix.shapes,
        "profile": appendix.profile,
        "ahead": appendix.ahead,
        "expected_best": appendix.tried,
    }
    pairs = [
        {
            "candidate": one.question.candidate,
            "baseline": one.question.baseline,
            "endpoint": one.endpoint.value,
            "measure": one.measure,
            "unit": one.unit,
            "workload": one.workload,
            "block": block,
            "difference": difference,
        }
        for one in comparison.by_workload
        for block, difference in one.paired
    ]
    saved = [] if comparison.saved is None else [_flat(comparison.saved)]
    return {
        "answers": [_flat(one, leave=("paired",)) for one in answers],
        "answers_with_additions": [_flat(one, leave=("paired",)) for one in comparison.later],
        "pairs": pairs,
        "saved": saved,
        "tuning": list(tuning_text.rows(comparison.tuning)),
        **{name: [_flat(one) for one in records] for name, records in tables.items()},
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
            flat[field.name] = value.value if isinstance(value, Endpoint) else value
    return flat


def csv_text(rows: Rows, names: Sequence[str] | None = None) -> str:
    """Write rows with the columns `names`, or those of all of them."""
    kept = columns(rows) if names is None else names
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(kept)
    writer.writerows([_cell(row.get(name)) for name in kept] for row in rows)
    return text.getvalue()


def columns(rows: Rows) -> list[str]:
    """Return the names of all columns, in order of first appearance."""
    # A record that is missing in one row has no columns there, only its own empty name.
    every = list(dict.fromkeys(name for row in rows for name in row))
    nested = {name for name in every if any(c.startswith(f"{name}_") for c in every)}
    return [name for name in every if name not in nested or any(row.get(name) for row in rows)]


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return "; ".join(_parts(value))
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return "" if value is None else str(value)


def _parts(values: tuple[Any, ...]) -> Iterator[str]:
    for value in values:
        yield ": ".join(map(_cell, value)) if isinstance(value, tuple) else _cell(value)
