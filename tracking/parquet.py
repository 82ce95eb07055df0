"""Rows as a Parquet file, where the package that writes it is there: it comes with MLflow.

Numbers stay numbers; what has parts is JSON text. The same rows give the same bytes. The writer is
pyarrow's own: pandas would take it too, and has no better idea of a column's type (seeds of 64
bits beside gaps would become floats).
"""

import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jobs.whole_file import whole_file
from tracking.numbers_csv import Rows, columns


def write_parquet(path: Path, rows: Rows) -> bool:
    """Write rows with typed columns, in the place of what was there; return whether it did."""
    if not rows or find_spec("pyarrow") is None:
        return False
    import pyarrow as pa
    from pyarrow import parquet

    names = columns(rows)
    arrays = []
    for name in names:
        values = _column([row.get(name) for row in rows])
        # Seeds take all 64 bits, so that they are no signed numbers.
        is_wide = any(isinstance(value, int) and value >= 2**63 for value in values)
        arrays.append(pa.array(values, pa.uint64() if is_wide else None))
    with whole_file(path) as file:
        parquet.write_table(pa.table(arrays, names=names), file)
    return True


def _column(values: list[Any]) -> list[Any]:
    """Return values of one type: numbers where all are, else text. None stays."""
    plain = [_plain(value) for value in values]
    kinds = {type(value) for value in plain if value is not None}
    if kinds == {int, float}:
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
