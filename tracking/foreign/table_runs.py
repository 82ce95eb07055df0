"""Runs that stand in CSV and Parquet files, a row a run or a row a point; writes nothing."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobs.contract.quantities import quantity
from tracking.foreign.hparams import read_hparams
from tracking.foreign.run import (
    CurveValue,
    ForeignRun,
    ForeignRuns,
    RunQuery,
    RunSourceError,
    first_values,
    list_names,
    require_metrics,
    suggest,
)
from tracking.foreign.run_filter import filter_runs
from tracking.foreign.run_paths import PathPattern
from tracking.foreign.run_settings import STATE_COLUMNS
from tracking.foreign.table_files import TableRow, read_header, read_rows
from tracking.history import State

_NO_VALUE = frozenset({"", "na", "n/a", "none", "null", "-"})
_LISTED = 4  # words that a note lists
# As MLflow, Weights & Biases, Optuna, Ray Tune and SLURM call them.
_WORDS: Mapping[State, str] = {
    "completed": "finished completed complete done success succeeded ok terminated",
    "failed": "failed fail failure crashed killed error cancelled canceled aborted pruned timeout "
    "out_of_memory oom node_fail",
    "running": "running pending preempted preempting scheduled waiting queued",
}
_STATES: Mapping[str, State] = {
    word: state for state, words in _WORDS.items() for word in words.split()
}
_LIKE_STEPS = ("step", "global_step", "_step", "epoch", "iteration", "iter")


@dataclass(frozen=True)
class TableLayout:
    """How rows make runs.

    `step` is the column of steps if a row is a point, None if it is a run. `run` is the column
    that tells runs apart; without it, they are told apart by the fields that are asked for. `path`
    says what the names of the files tell.
    """

    step: str | None = None
    run: str | None = None
    path: PathPattern | None = None


@dataclass
class _Run:
    """A run while its rows are read; `curve` and `last` are by step and by metric."""

    name: str
    place: str
    fields: dict[str, str]
    state: State
    curve: dict[int, CurveValue] = field(default_factory=dict)
    latest: dict[str, float] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)  # the step of the latest value

    def finish(self) -> ForeignRun:
        return ForeignRun(
            self.place,
            self.name,
            self.state,
            self.fields,
            first_values(self.curve.values()),
            self.latest,
        )


def read_tables(files: Sequence[Path], layout: TableLayout, query: RunQuery) -> ForeignRuns:
    """Return the runs of files; their fields are columns and the fields of the path.

    NaN and infinity are values, an empty cell is none. Raises RunSourceError, with file and line,
    for a column that is not there, a cell that is no number, and rows that cannot be told apart.
    """
    label = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    if layout.path is not None:
        layout.path.require_one(files)
    runs: dict[tuple[str, ...], _Run] = {}
    shared: dict[str, str] = {}
    tables = [_Table(file, layout, query, shared) for file in files]
    columns = {name for table in tables for name in table.columns}
    for table in tables:
        table.require_columns(columns)
    for table in tables:
        table.read_into(runs)
    if not runs:
        raise RunSourceError(f"{label} has no rows")
    for table in tables:
        table.add_lost_run(runs)
    found = filter_runs([run.finish() for run in runs.values()], query.only, label)
    require_metrics(label, query.metrics, found, ())
    notes = [note for table in tables for note in table.notes]
    return ForeignRuns(label, tuple(found), (*notes, *_note_unknown_states(found)))


def _note_unknown_states(runs: Sequence[ForeignRun]) -> list[str]:
    """Say which words for the end of a run are not understood."""
    words = [
        (name, value)
        for run in runs
        for name, value in run.fields.items()
        if name.lower() in STATE_COLUMNS and _state_of(value) is None
    ]
    if not words:
        return []
    column, listed = words[0][0], list_names(sorted({value for _, value in words})[:_LISTED])
    text = (
        f"{column} ({listed}) does not say of {quantity(len(words), 'run')} how it has ended, in "
        "words that are known here: taken for completed. --filter leaves runs out."
    )
    return [text]


def _state_of(text: str) -> State | None:
    return _STATES.get(text.lower().replace(" ", "_").replace("-", "_"))


class _Table:
    """One file, and how its rows are read."""

    def __init__(
        self, file: Path, layout: TableLayout, query: RunQuery, shared: dict[str, str]
    ) -> None:
        self._layout, self._query, self._shared = layout, query, shared
        self._file = file
        self.columns = columns = read_header(file)
        self.notes: list[str] = []
        self._has_rows = False
        self._at = {name: index for index, name in enumerate(columns)}
        self._elsewhere = dict(layout.path.read(file) or {}) if layout.path else {}
        self._elsewhere |= read_hparams(file.parent)
        self._metrics = [name for name in query.metrics if name in columns]
        self._fields = [name for name in columns if name not in {*query.metrics, layout.step}]
        self._like_steps = [name for name in columns if name.lower() in _LIKE_STEPS]

    def require_columns(self, known: Collection[str]) -> None:
        """Raise RunSourceError for a column that is not there.

        A metric that another file has is none of them: this run has not come to log it.
        """
        query, layout, columns = self._query, self._layout, self.columns
        if not columns:
            if not known:
                raise RunSourceError(
                    f"{self._file} is empty: its first line is to name the columns"
                )
            return
        wanted = [*query.metrics, layout.step, layout.run]
        wanted += [name for name in query.fields if name not in self._elsewhere]
        for name in wanted:
            if name is None or name in columns:
                continue
            if name not in query.metrics or name not in known:
                raise RunSourceError(
                    f"{self._file}:1 has no column {name!r}{suggest(name, columns)}: there are "
                    f"{list_names(columns)}"
                )
            self.notes.append(f"{self._file} has no column {name!r}, so its runs have none.")

    def add_lost_run(self, runs: dict[tuple[str, ...], _Run]) -> None:
        """Add a run without a value for a file without a row, if its path says whose it is."""
        if self._has_rows:
            return
        if all(name in self._elsewhere for name in self._query.fields):
            place = str(self._file)
            runs[(place,)] = _Run(place, place, dict(self._elsewhere), "failed")
            self.notes.append(f"{place} has no rows: its run has no value.")
        else:
            self.notes.append(f"{self._file} has no rows: left out.")

    def read_into(self, runs: dict[tuple[str, ...], _Run]) -> None:
        """Add the runs of this file to those that are there; raises RunSourceError."""
        for row in read_rows(self._file):
            if row.is_torn:
                self.notes.append(f"{row.place} is the last line and breaks off: left out.")
                continue
            self._has_rows = True
            if self._layout.step is None:
                self._add_run(runs, row)
            else:
                self._add_point(runs, row, self._layout.step)

    def _add_run(self, runs: dict[tuple[str, ...], _Run], row: TableRow) -> None:
        run = self._begin(row)
        key: tuple[str, ...] = (row.place,)
        if self._like_steps and self._layout.run is None:
            key = self._cell(row)
            if key in runs:
                raise RunSourceError(
                    f"{runs[key].place} and {row.place} are both of {self._spell(key)}: if a row "
                    "is a point of a curve, name the column of its steps (--step "
                    f"{self._like_steps[0]}); if it is a run, what tells runs apart (--run COLUMN)"
                )
        run.latest.update(self._values(row))
        runs[key] = run

    def _add_point(self, runs: dict[tuple[str, ...], _Run], row: TableRow, column: str) -> None:
        step = self._step(row, column)
        named = self._layout.run
        cell = self._cell(row)
        key = cell if named is None else (str(self._file.parent), row.cells[self._at[named]])
        run = runs.setdefault(key, self._begin(row))
        self._keep_what_is_alike(run, row)
        for name, value in self._values(row):
            if name == self._query.curve_metric:
                if step in run.curve and named is None:
                    raise RunSourceError(
                        f"{row.place} is a second {name} of {self._spell(cell)} at {column} "
                        f"{step}: name the column that tells runs apart (--run COLUMN)"
                    )
                run.curve.setdefault(step, CurveValue(step, value, 0))
            if step >= run.last.get(name, step):
                run.latest[name], run.last[name] = value, step

    def _begin(self, row: TableRow) -> _Run:
        share = self._shared.setdefault
        fields = {name: share(cell, cell) for name, cell in self._cells(row) if cell}
        named = self._layout.run
        name = row.place if named is None else row.cells[self._at[named]]
        return _Run(name, row.place, self._elsewhere | fields, self._state(row))

    def _keep_what_is_alike(self, run: _Run, row: TableRow) -> None:
        """Forget the fields that change within a run; raises RunSourceError for one asked for."""
        run.state = self._state(row)
        for name, value in self._cells(row):
            known = run.fields.get(name)
            if known is None or known == value:
                continue
            if name in self._query.fields:
                raise RunSourceError(
                    f"{row.place}: {name} of run {run.name} is {value!r}, which is {known!r} at "
                    f"{run.place}: --run names no column that tells runs apart"
                )
            del run.fields[name]

    def _cells(self, row: TableRow) -> Iterator[tuple[str, str]]:
        return ((name, row.cells[self._at[name]]) for name in self._fields)

    def _cell(self, row: TableRow) -> tuple[str, ...]:
        at, elsewhere = self._at, self._elsewhere
        return tuple(
            row.cells[at[name]] if name in at else elsewhere[name] for name in self._query.fields
        )

    def _spell(self, cell: Sequence[str]) -> str:
        pairs = zip(self._query.fields, cell, strict=True)
        return ", ".join(f"{name} {value}" for name, value in pairs)

    def _step(self, row: TableRow, column: str) -> int:
        text = row.cells[self._at[column]]
        try:
            step = float(text)
            if step.is_integer():
                return int(step)
        except ValueError:
            pass
        raise RunSourceError(f"{row.place}: {column} is {text!r}, which is no whole number")

    def _values(self, row: TableRow) -> Iterator[tuple[str, float]]:
        for name in self._metrics:
            text = row.cells[self._at[name]]
            if text.lower() in _NO_VALUE:
                continue
            try:
                yield name, float(text)
            except ValueError:
                raise RunSourceError(
                    f"{row.place}: {name} is {text!r}, which is no number"
                ) from None

    def _state(self, row: TableRow) -> State:
        """Return what a column `state` or `status` says; a run without one is completed."""
        for name in self._fields:
            if name.lower() in STATE_COLUMNS:
                return _state_of(row.cells[self._at[name]]) or "completed"
        return "completed"
