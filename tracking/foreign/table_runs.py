"""Runs that stand in CSV and Parquet files, a row a run or a row a point; writes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
from tracking.foreign.table_files import TableRow, read_header, read_rows
from tracking.history import State

_NO_VALUE = frozenset({"", "na", "n/a", "none", "null", "-"})
_STATE_COLUMNS = ("state", "status")
_STATES: Mapping[str, State] = {
    **dict.fromkeys(("finished", "completed", "complete", "done", "success", "ok"), "completed"),
    **dict.fromkeys(("failed", "crashed", "killed", "error", "cancelled"), "failed"),
    **dict.fromkeys(("running", "pending", "preempted", "preempting"), "running"),
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
    for file in files:
        _Table(file, layout, query, shared).read_into(runs)
    if not runs:
        raise RunSourceError(f"{label} has no rows")
    found = filter_runs([run.finish() for run in runs.values()], query.only, label)
    require_metrics(label, query.metrics, found, ())
    return ForeignRuns(label, tuple(found))


class _Table:
    """One file, and how its rows are read."""

    def __init__(
        self, file: Path, layout: TableLayout, query: RunQuery, shared: dict[str, str]
    ) -> None:
        self._layout, self._query, self._shared = layout, query, shared
        self._file = file
        columns = read_header(file)
        self._at = {name: index for index, name in enumerate(columns)}
        self._elsewhere = dict(layout.path.read(file) or {}) if layout.path else {}
        self._elsewhere |= read_hparams(file.parent)
        wanted = [*query.metrics, layout.step, layout.run]
        wanted += [name for name in query.fields if name not in self._elsewhere]
        for name in wanted:
            if name is not None and name not in columns:
                raise RunSourceError(
                    f"{file}:1 has no column {name!r}{suggest(name, columns)}: there are "
                    f"{list_names(columns)}"
                )
        self._fields = [name for name in columns if name not in {*query.metrics, layout.step}]
        self._like_steps = [name for name in columns if name.lower() in _LIKE_STEPS]

    def read_into(self, runs: dict[tuple[str, ...], _Run]) -> None:
        """Add the runs of this file to those that are there; raises RunSourceError."""
        for row in read_rows(self._file):
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
        for name in self._query.metrics:
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
            if name.lower() in _STATE_COLUMNS:
                return _STATES.get(row.cells[self._at[name]].lower(), "completed")
        return "completed"
