"""Points in files of rows that a script writes: CSV, TSV, JSON and JSON lines, by their suffix."""

import csv
import glob
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jobs.contract.workloads.result_sources import RowFiles
from jobs.user.results.merger import ReadPoint, ResultsError
from jobs.user.results.source import Place, Source

# A column of one of these names has the step, unless the sweep names another; the first counts.
STEP_COLUMNS = ("step", "global_step", "iteration", "iter", "epoch", "round")
_EMPTY = ("", "none", "null", "na", "n/a")
_SHOWN = 12  # names in a message


class Row(NamedTuple):
    """A row of a file: where it stands, and what it has by column.

    `is_alone` if it is what a file has beside its rows; a header has no cells.
    """

    origin: str
    cells: Mapping[str, Any]
    is_alone: bool = False
    is_header: bool = False


class RowSource(Source):
    """Reads the rows of all files that match a pattern; rows that have been read come once more
    at the end, with what has changed in them."""

    def __init__(self, source: RowFiles, pattern: str, place: Place) -> None:
        self._source, self._pattern, self._place = source, pattern, place
        self._states: dict[Path, tuple[int, int]] = {}
        self._taken: dict[Path, int] = {}
        self._columns: dict[str, None] = {}
        self._header = ""
        for path in self.files():  # of an earlier attempt, until they change
            self._states[path] = _state(path)

    def files(self) -> list[Path]:
        found = glob.glob(self._pattern, root_dir=self._place.folder, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        paths = (self._place.folder / name for name in sorted(found))
        return [path for path in paths if path.is_file()]

    def poll(self, is_over: bool) -> Iterator[ReadPoint]:
        for path in self.files():
            state = _state(path)
            if is_over or self._states.get(path) != state:
                self._states[path] = state
                yield from self._read(path, is_over)

    def explain(self, metric: str) -> str:
        if not self.files():
            written = _list_written(self._place)
            return f"no file matches {self._source.path!r}; the script has written {written}"
        columns = _shorten(list(self._columns))
        return f"{self._header} has no column {metric!r}, it has {columns or 'no rows'}"

    def _read(self, path: Path, is_over: bool) -> Iterator[ReadPoint]:
        shown = self._place.show(path)
        rows = list(_rows(path, shown, is_over))
        for row in rows:
            self._columns |= dict.fromkeys(row.cells)
        self._header = self._header or (rows[0].origin if rows else shown)
        column = self._step_column(rows)
        rows = [row for row in rows if not row.is_header]
        first = 0 if is_over else self._taken.get(path, 0)
        if not is_over:
            rows = [row for row in rows if not row.is_alone]  # it is written anew at every step
        for number, row in enumerate(rows[first:], start=first + 1):
            point = self._point(row, column, number, path)
            if point is not None:
                yield point
            self._taken[path] = number

    def _step_column(self, rows: list[Row]) -> str | None:
        """Return the column that has the step; None if rows are counted, or there is one alone."""
        columns = {column for row in rows for column in row.cells}
        named = self._source.step
        if named is None:
            return next((name for name in STEP_COLUMNS if name in columns), None)
        if rows and named not in columns:
            raise ResultsError(
                f"{rows[0].origin} has no column {named!r}, which `step` names: it has "
                f"{_shorten(sorted(columns))}"
            )
        return named

    def _point(self, row: Row, column: str | None, number: int, path: Path) -> ReadPoint | None:
        metrics = {}
        for name, cell in row.cells.items():
            if name == column or cell is None or str(cell).strip().lower() in _EMPTY:
                continue
            value = _to_number(cell)
            if value is not None:
                metrics[name] = value
            elif name in self._place.needed:
                raise ResultsError(f"{row.origin}: {name} is {cell!r}, which is no number")
        if not metrics:
            return None
        step: int | None = number
        if column is not None:
            step = self._step(row, column, metrics)
            if step is None:
                return None
        elif row.is_alone:
            step = None
        return ReadPoint(step, metrics, row.origin, series=path)

    def _step(self, row: Row, column: str, metrics: Mapping[str, float]) -> int | None:
        """Return the step of a row; None for a row of no account that has none."""
        cell = row.cells.get(column)
        value = None if cell is None else _to_number(cell)
        if value is not None and value >= 0 and value.is_integer():
            return int(value)
        if not self._place.needed & metrics.keys():
            return None
        raise ResultsError(
            f"{row.origin}: {column} is {cell!r}, and a step is a whole number, 0 or more: name "
            "the column that has it by `step`"
        )


def _rows(path: Path, shown: str, is_over: bool) -> Iterator[Row]:
    """Yield the rows of a file; raises ResultsError for what has no rows.

    Before the script is over, a line without an end may be half of one.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise ResultsError(f"{shown} cannot be read: {error.strerror}") from error
    suffix = path.suffix.lower()
    if suffix == ".json":
        yield from _json_rows(text, shown)
        return
    if not is_over:
        text = text[: text.rfind("\n") + 1]
    if suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(text, shown)
    else:
        yield from _table_rows(text, shown, suffix)


def _table_rows(text: str, shown: str, suffix: str) -> Iterator[Row]:
    header = text.partition("\n")[0]
    delimiters = "\t" if suffix == ".tsv" else ",;\t"
    delimiter = max(delimiters, key=header.count)
    rows = csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        if rows.fieldnames is not None:
            names = [str(name).strip() for name in rows.fieldnames]
            yield Row(f"{shown}:1", dict.fromkeys(names), is_header=True)
        for cells in rows:
            named = {str(name).strip(): cell for name, cell in cells.items() if name is not None}
            yield Row(f"{shown}:{rows.line_num}", named)
    except csv.Error as error:
        raise ResultsError(f"{shown}:{rows.line_num} is no row of a table: {error}") from error


def _json_lines(text: str, shown: str) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            record = _parse(line, f"{shown}:{number}")
            if not isinstance(record, dict):
                raise ResultsError(f"{shown}:{number} is no JSON object: {line[:100]!r}")
            yield Row(f"{shown}:{number}", _flatten(record))


def _json_rows(text: str, shown: str) -> Iterator[Row]:
    """Yield the rows of a JSON file: a list of objects, lists of equal length, or one object."""
    record = _parse(text, shown)
    lists = list(filter(_is_rows, record.values())) if isinstance(record, dict) else []
    listed = record if _is_rows(record) else lists[0] if len(lists) == 1 else []
    for number, row in enumerate(listed, start=1):
        yield Row(f"{shown}, row {number}", _flatten(row))
    if listed is record:
        return
    if not isinstance(record, dict):
        raise ResultsError(f"{shown} has no object and no list of objects: {text[:100]!r}")
    cells = _flatten(record)
    columns = {name: value for name, value in cells.items() if _is_column(value)}
    longest = max((len(value) for value in columns.values()), default=0)
    scalars = {name: value for name, value in cells.items() if name not in columns}
    for number in range(longest):
        row = {name: value[number] for name, value in columns.items() if number < len(value)}
        yield Row(f"{shown}, row {number + 1}", row)
    if scalars:
        yield Row(shown, scalars, is_alone=True)


def _parse(text: str, shown: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        at = shown if ":" in shown else f"{shown}:{line}"
        raise ResultsError(f"{at} is no JSON: {getattr(error, 'msg', error)}") from error


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _is_column(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(one, (dict, list)) for one in value)


def _flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a record with the names of inner records joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _to_number(cell: Any) -> float | None:
    if isinstance(cell, bool) or not isinstance(cell, (int, float, str)):
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return None


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _list_written(place: Place) -> str:
    files = sorted(path for path in place.folder.rglob("*") if _is_own(path))
    return _shorten([place.show(path) for path in files]) or "no file into its working folder"


def _is_own(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
