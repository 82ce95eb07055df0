"""Every number of a comparison as rows, and rows as CSV and Parquet files.

A table for each kind of record, a row for each record, in full precision. The same rows give the
same bytes. The trials themselves are in data.csv.
"""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jobs.contract.atomic_write import open_atomically
from tracking.compare.appendix import Appendix
from tracking.compare.result import EXPLORATORY, Comparison, named_fields
from tracking.questions.endpoint import Endpoint
from tracking.report import tuning

Rows = Sequence[Mapping[str, Any]]


def numbers(comparison: Comparison, appendix: Appendix) -> Mapping[str, Rows]:
    """Return the rows of every table, by its name."""
    records: Mapping[str, Sequence[Any]] = {
        "answers": (*comparison.pooled, *comparison.by_workload),
        "answers_with_additions": comparison.later,
        "saved": [one for one in (comparison.saved,) if one is not None],
        "level_b": comparison.across_datasets,
        "failures": comparison.divergence,
        "looks": comparison.ledger,
        "speedups": comparison.time_to_target.speedups,
        "steps_to_target": comparison.time_to_target.arms,
        "candidates": comparison.summaries,
        "rankings": comparison.rankings,
        "limits": appendix.shapes,
        "profile": appendix.profile,
        "ahead": appendix.ahead,
        "interquartile_means": appendix.aggregates.middle,
        "improvement": appendix.aggregates.improvement,
        "expected_best": appendix.tried,
    }
    pairs = [
        {
            "candidate": one.question.candidate,
            "baseline": one.question.baseline,
            "endpoint": one.endpoint.name,
            "measure": one.measure,
            "unit": one.unit,
            "workload": one.workload,
            comparison.units.noun(one.question): number,
            "difference": difference,
        }
        for one in comparison.by_workload
        if not comparison.is_open(one.question)
        for number, difference in one.paired
    ]
    named = {name: [_flat(one) for one in of_kind] for name, of_kind in records.items()}
    for row, one in zip(named["answers"], records["answers"], strict=True):
        row["exploratory"] = comparison.exploratory or EXPLORATORY in one.flags
    return {
        **named,
        "pairs": pairs,
        "tuning": list(tuning.rows(comparison.tuning)),
    }


def _flat(record: Any) -> dict[str, Any]:
    """Return the fields of a record and of the records inside it, as OUTER_INNER."""
    flat: dict[str, Any] = {}
    for name, value in named_fields(record):
        if name == "paired":  # a table of its own
            continue
        if isinstance(value, Endpoint):
            flat[name] = value.name
        elif dataclasses.is_dataclass(value):
            # A question is read as the names of its two sides.
            prefix = "" if name == "question" else f"{name}_"
            flat |= {f"{prefix}{key}": inner for key, inner in _flat(value).items()}
        else:
            flat[name] = value
    return flat


def csv_text(rows: Rows, names: Sequence[str] | None = None) -> str:
    """Return rows as CSV, with the columns `names` or all of them; no number, an empty cell.

    The writer is that of the standard library: pandas would print what `_cell` has to spell
    before it, and take half a second to load.
    """
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
        return "; ".join(
            ": ".join(map(_cell, part)) if isinstance(part, tuple) else _cell(part)
            for part in value
        )
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return "" if value is None else str(value)


def write_parquet(path: Path, rows: Rows) -> None:
    """Write rows with typed columns, in the place of what was there, if pyarrow is installed.

    Numbers stay numbers; what has parts is JSON text. Writes nothing without rows. The writer is
    pyarrow's own: pandas has no better idea of a column's type (seeds of 64 bits beside gaps
    would become floats).
    """
    if not rows or find_spec("pyarrow") is None:
        return
    import pyarrow as pa
    from pyarrow import parquet

    names = columns(rows)
    arrays = []
    for name in names:
        values = _column([row.get(name) for row in rows])
        # Seeds take all 64 bits, so that they are no signed numbers.
        is_wide = any(isinstance(value, int) and value >= 2**63 for value in values)
        arrays.append(pa.array(values, pa.uint64() if is_wide else None))
    with open_atomically(path) as file:
        parquet.write_table(pa.table(arrays, names=names), file)


def _column(values: list[Any]) -> list[Any]:
    """Return values of one type: floats if they are integers and floats, else text. None stays."""
    plain = [_plain(value) for value in values]
    kinds = {type(value) for value in plain if value is not None}
    if kinds == {int, float}:  # pyarrow makes no floats of large integers
        return [None if value is None else float(value) for value in plain]
    if len(kinds) > 1:
        return [None if value is None else str(value) for value in plain]
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (tuple, list, dict)):
        return json.dumps(value, default=str) if value else None
    return value
