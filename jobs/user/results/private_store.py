"""Points in the MLflow runs of a script, which it logs into a store of its trial.

Stores are read with the standard library: nodes that train have no MLflow. A store is SQLite, or
folders of files (`mlruns`), which older versions write and a script may ask for.
"""

import contextlib
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jobs.user.results.merger import ReadPoint, ResultsError
from jobs.user.results.source import Place, Source

_DATABASE = "mlflow.db"
_LARGEST = 1.7976931348623157e308  # what SQLite stores have for an infinite value
_OF_MACHINES = "system/"  # metrics of the machine
_LATEST = (
    "SELECT metrics.run_uuid, key, value, step, is_nan FROM metrics JOIN runs USING (run_uuid) "
    "WHERE lifecycle_stage = 'active' ORDER BY metrics.rowid"
)
# A run that the shell of the user was in is none of the private store.
_FOREIGN = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_REGISTRY_URI")


class Logged(NamedTuple):
    """A value that a run has logged."""

    run: str
    key: str
    step: int
    value: float


def environment(store: Path) -> dict[str, str | None]:
    """Return the variables that make a script log into `store`; None takes one away."""
    return {
        **dict.fromkeys(_FOREIGN),
        "MLFLOW_TRACKING_URI": address(store),
        "MLFLOW_ALLOW_FILE_STORE": "true",  # of a script that has `file:./mlruns` in it
    }


def address(store: Path) -> str:
    """Return the tracking URI of the store in a folder."""
    return f"sqlite:///{store / _DATABASE}"


def is_used(store: Path) -> bool:
    """Return True if anything has made a store in the folder."""
    return (store / _DATABASE).exists()


class StoreSource(Source):
    """Reads every run in the store of a trial, and in stores below `base`."""

    def __init__(self, base: Path, place: Place) -> None:
        self._base, self._place = base, place
        self._keys: dict[str, None] = {}

    def files(self) -> list[Path]:
        return [*self._databases(), *self._metric_files()]

    def poll(self, is_over: bool) -> Iterator[ReadPoint]:
        logged: dict[tuple[str, str, str], list[Logged]] = {}
        for path in self._databases():
            for one in _read_database(path, self._place.show(path)):
                logged.setdefault((self._place.show(path), one.run, one.key), []).append(one)
        for path in self._metric_files():
            run = next(p for p in path.parents if p.name == "metrics").parent
            key = path.relative_to(run / "metrics").as_posix()
            values = list(_read_lines(path, run.name, key, self._place.show(path), is_over))
            logged[self._place.show(run.parent.parent), run.name, key] = values
        for series, values in logged.items():
            self._keys[series[2]] = None
            yield from _points(series, values, is_over)

    def explain(self, metric: str) -> str:
        if not self._keys:
            return (
                "it has logged no metric to MLflow, in the store that MLFLOW_TRACKING_URI named "
                f"or below {self._place.show(self._base)}; does it set a tracking URI of its own?"
            )
        return f"its MLflow runs have no {metric!r}, they have {', '.join(sorted(self._keys))}"

    def _databases(self) -> list[Path]:
        found = sorted(self._base.rglob(_DATABASE))
        own = self._place.store / _DATABASE
        return [own, *found] if own.is_file() else found

    def _metric_files(self) -> list[Path]:
        found = self._base.rglob("metrics/**/*")
        return sorted(path for path in found if path.is_file() and _is_in_run(path))


def _is_in_run(path: Path) -> bool:
    folder = next(parent for parent in path.parents if parent.name == "metrics").parent
    return (folder / "meta.yaml").is_file()


def _points(
    series: tuple[str, str, str], values: list[Logged], is_over: bool
) -> Iterator[ReadPoint]:
    """Yield the points of one metric of one run.

    A script that gives no step has all values at step 0: they are counted.
    """
    store, run, key = series
    has_steps = any(one.step for one in values)
    if not has_steps and not is_over:
        return
    counted = not has_steps and len(values) > 1
    for number, one in enumerate(values, start=1):
        origin = f"run {run} of {store}"
        step = number if counted else one.step
        yield ReadPoint(step, {key: one.value}, origin, series=series)


def _read_database(path: Path, shown: str) -> Iterator[Logged]:
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute(_LATEST).fetchall()
    except sqlite3.Error as error:
        raise ResultsError(f"{shown} is no store of MLflow that can be read: {error}") from error
    for run, key, value, step, is_nan in rows:
        if not key.startswith(_OF_MACHINES):
            number = math.nan if is_nan else float(value)
            if abs(number) >= _LARGEST:
                number = math.copysign(math.inf, number)
            yield Logged(run, key, int(step), number)


def _read_lines(path: Path, run: str, key: str, shown: str, is_over: bool) -> Iterator[Logged]:
    """Yield the values in a file of `timestamp value step`, one a line."""
    if key.startswith(_OF_MACHINES):
        return
    text = path.read_text(errors="replace")
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if not line.endswith("\n") and not is_over:
            return
        try:
            _, value, step = line.split()[:3]
            yield Logged(run, key, int(step), float(value))
        except ValueError as error:
            raise ResultsError(f"{shown}:{number} is no value of MLflow: {line!r}") from error
