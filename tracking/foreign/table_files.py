"""CSV and Parquet files, row by row, all cells as text, each row with its place."""

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract.quantities import quantity
from tracking.foreign.run import RunSourceError

PARQUET = (".parquet", ".pq")
_SEPARATORS = ",;\t|"
_MOST_CELL = 10**7  # characters; a cell of a CSV may hold a whole configuration


@dataclass(frozen=True)
class TableRow:
    """A row of a file; `place` is FILE:LINE of a CSV, "FILE, row N" of a Parquet file.

    One that is torn, as by a run that was killed while it wrote, has no cells.
    """

    place: str
    cells: Sequence[str]
    is_torn: bool = False


def read_header(path: Path) -> list[str]:
    """Return the names of the columns; none if the file is empty.

    Raises RunSourceError for what is no table.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise RunSourceError(f"{path}: {what}; --csv takes CSV and Parquet files")
    if path.suffix.lower() in PARQUET:
        return list(_parquet(path).schema_arrow.names)
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = next(_reader(path, file), None)
        if not header and file.read().strip():
            raise RunSourceError(f"{path}:1 is an empty line: it is to name the columns")
    return _unique(path, [name.strip() for name in header or ()])


def read_rows(path: Path) -> Iterator[TableRow]:
    """Yield the rows after the header; raises RunSourceError for one of another width."""
    if path.suffix.lower() in PARQUET:
        yield from _parquet_rows(path)
        return
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = _reader(path, file)
        width = len(next(reader, ()))
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise RunSourceError(f"{path}:{line} cannot be read: {error}") from error
            except UnicodeDecodeError as error:
                raise _no_text(path) from error
            if cells is None:
                return
            if not cells:
                continue  # an empty line
            if len(cells) < width and not _has_more(file, path):
                yield TableRow(f"{path}:{line}", (), is_torn=True)
                return
            if len(cells) != width:
                raise RunSourceError(
                    f"{path}:{line} has {quantity(len(cells), 'cell')}, the first line names "
                    f"{quantity(width, 'column')}"
                )
            yield TableRow(f"{path}:{line}", [cell.strip() for cell in cells])


def _has_more(file: Any, path: Path) -> bool:
    """Return True if the line that was read last is not the last one, or has its end."""
    if file.read(1):
        return True
    with path.open("rb") as whole:
        whole.seek(-1, 2)
        return whole.read() in (b"\n", b"\r")


def _no_text(path: Path) -> RunSourceError:
    return RunSourceError(f"{path} is no CSV file: it is not text in UTF-8")


def _unique(path: Path, names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise RunSourceError(f"{path}:1 names the column {name!r} twice")
    return names


def _reader(path: Path, file: Any) -> Any:
    """Return a csv.reader by whatever separates the names of the first line."""
    csv.field_size_limit(min(_MOST_CELL, sys.maxsize))
    try:
        first = file.readline()
        file.seek(0)
    except UnicodeDecodeError as error:
        raise _no_text(path) from error
    separator = max(_SEPARATORS, key=first.count)
    return csv.reader(file, delimiter=separator)


def _parquet(path: Path) -> Any:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise RunSourceError(f"{path} is no Parquet file: {error}") from error


def _parquet_rows(path: Path) -> Iterator[TableRow]:
    from pyarrow import ArrowException

    number = 0
    try:
        for batch in _parquet(path).iter_batches():
            columns = [column.to_pylist() for column in batch.columns]
            for cells in zip(*columns, strict=True):
                number += 1
                yield TableRow(f"{path}, row {number}", [_text(cell) for cell in cells])
    except (ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise RunSourceError(f"{path} is damaged after row {number}: {reason}") from error


def _text(cell: object) -> str:
    """Return a value as a CSV would spell it; nothing for one that is missing."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))  # pandas makes floats of whole numbers if one of them is missing
    return str(cell)
