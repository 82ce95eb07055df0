"""An MLflow experiment, read from the tables of an embedded store: 10,000 runs in a second.

MLflow itself takes fifteen milliseconds a run, and is not imported here. Its tables are private
to it, so they are read only if their schema is one that we know. Writes nothing.
"""

import contextlib
import math
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tracking.foreign.parent_runs import PARENT_FIELD
from tracking.foreign.run import (
    CurveValue,
    ForeignRun,
    RunQuery,
    first_values,
    list_names,
    suggest,
)
from tracking.history import State
from tracking.mlflow_store.store import StoreError

# Revisions of MLflow's schema (its table `alembic_version`) whose tables are known to lie as they
# are read here. Add one if the tests of this file pass with its MLflow.
_KNOWN_SCHEMAS = frozenset({"dc11669786a5"})  # MLflow 3.17
MAX_FIELD = 500  # characters: what is longer (a note, a list of files) names no candidate
_TIMEOUT_S = 30.0  # for somebody who is writing

_STATES: Mapping[str, State] = {
    "FINISHED": "completed",
    "FAILED": "failed",
    "KILLED": "failed",
    "RUNNING": "running",
    "SCHEDULED": "running",
}
_OF_ACTIVE = (
    "run_uuid IN (SELECT run_uuid FROM runs WHERE experiment_id = ? "
    "AND lifecycle_stage = 'active')"
)


@dataclass(frozen=True)
class StoredExperiment:
    """What a store has of an experiment: its runs, but for those in the trash, the oldest first.

    `parents` are their parent runs that are not among them: deleted, or of another experiment.
    `metrics` are the names of all that they have logged, `in_trash` how many runs were deleted.
    """

    id: str
    name: str
    deleted: bool
    runs: tuple[ForeignRun, ...]
    parents: tuple[ForeignRun, ...]
    metrics: tuple[str, ...]
    in_trash: int
    notes: tuple[str, ...] = ()


def read_tables(database: Path, experiment: str, query: RunQuery) -> StoredExperiment | None:
    """Return an experiment, whatever `query.only` says; None if the schema is not known here.

    Raises StoreError for a file that is no store, and an experiment that is not there.
    """
    if not database.is_file():
        raise StoreError(f"no MLflow store at {database}: there is no such file")
    try:
        with contextlib.closing(_open_to_read(database)) as connection:
            return _read(connection, database, experiment, query)
    except sqlite3.OperationalError as error:
        if "no such column" in str(error):
            return None
        raise StoreError(f"cannot read the MLflow store {database}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{database} is no MLflow store: {error}") from error


def state_of(status: str | None) -> State:
    """Return the state of a run by MLflow's word for it."""
    return _STATES.get(status or "", "failed")


def measured(value: float, is_nan: bool = False) -> float:
    """Return a value as it was logged: the tables hold NaN as 0 and infinity as 1.797e308."""
    if is_nan:
        return math.nan
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value


def require_experiment(name: str, names: list[str], uri: object) -> None:
    """Raise StoreError for an experiment that is none of those of a store."""
    if name not in names:
        choices = sorted(names)
        raise StoreError(
            f"no experiment {name!r} at {uri}{suggest(name, choices)}: there are "
            f"{list_names(choices)}"
        )


def _open_to_read(database: Path) -> sqlite3.Connection:
    address = f"file:{quote(str(database))}?mode=ro"
    try:
        connection = sqlite3.connect(address, timeout=_TIMEOUT_S, uri=True)
        with contextlib.ExitStack() as unless_read:
            unless_read.callback(connection.close)
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            unless_read.pop_all()
        return connection
    except sqlite3.OperationalError:
        # In a folder that we may not write, a store with a write-ahead log cannot be opened,
        # unless we say that nobody writes it; if its log is gone or empty, nobody does.
        log = Path(f"{database}-wal")
        if log.exists() and log.stat().st_size:
            raise
        return sqlite3.connect(f"{address}&immutable=1", uri=True)


def _read(
    connection: sqlite3.Connection, database: Path, experiment: str, query: RunQuery
) -> StoredExperiment | None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not {"alembic_version", "experiments", "runs"} <= tables:
        held = f"its tables are {list_names(sorted(tables))}" if tables else "it is empty"
        raise StoreError(f"{database} is no MLflow store: {held}")
    versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    if len(versions) != 1 or versions[0][0] not in _KNOWN_SCHEMAS:
        return None
    known = {
        name: (number, stage)
        for name, number, stage in connection.execute(
            "SELECT name, experiment_id, lifecycle_stage FROM experiments "
            "WHERE workspace = 'default'"
        )
    }
    require_experiment(experiment, list(known), database)
    number, stage = known[experiment]
    of_it = {"id": str(number), "name": experiment, "deleted": stage == "deleted"}
    (in_trash,) = connection.execute(
        "SELECT count(*) FROM runs WHERE experiment_id = ? AND lifecycle_stage != 'active'",
        (number,),
    ).fetchone()
    metrics = connection.execute(
        f"SELECT DISTINCT key FROM latest_metrics WHERE {_OF_ACTIVE}", (number,)
    )
    names = tuple(sorted(name for (name,) in metrics))
    runs = tuple(_runs(connection, number, query))
    parents = tuple(_missing_parents(connection, runs, query))
    return StoredExperiment(**of_it, runs=runs, parents=parents, metrics=names, in_trash=in_trash)


def _runs(
    connection: sqlite3.Connection, experiment: int, query: RunQuery
) -> Iterator[ForeignRun]:
    fields = _fields(connection, _OF_ACTIVE, experiment, query)
    latest = _latest(connection, experiment, query)
    curves = _curves(connection, experiment, query.curve_metric)
    rows = connection.execute(
        "SELECT run_uuid, name, status, start_time, end_time FROM runs "
        "WHERE experiment_id = ? AND lifecycle_stage = 'active' ORDER BY start_time, run_uuid",
        (experiment,),
    )
    for run, name, status, start, end in rows:
        attributes = {"attributes.run_name": name or "", "attributes.run_id": run}
        yield ForeignRun(
            run,
            name or run,
            state_of(status),
            fields[run] | attributes,
            first_values(curves.pop(run, ())),
            latest[run],
            start,
            end,
        )


def _missing_parents(
    connection: sqlite3.Connection, runs: Sequence[ForeignRun], query: RunQuery
) -> Iterator[ForeignRun]:
    """Yield the parents of runs, and theirs, which are not among them, without their metrics."""
    known = {run.id for run in runs}
    asked = {run.fields[PARENT_FIELD] for run in runs if PARENT_FIELD in run.fields} - known
    while asked:
        known |= asked
        found = []
        for run_id in sorted(asked):
            row = connection.execute(
                "SELECT name, status FROM runs WHERE run_uuid = ?", (run_id,)
            ).fetchone()
            if row is None:
                continue  # deleted for good: its children have what they have
            name = row[0] or ""
            fields = _fields(connection, "run_uuid = ?", run_id, query)[run_id]
            fields |= {"attributes.run_name": name, "attributes.run_id": run_id}
            found.append(ForeignRun(run_id, name or run_id, state_of(row[1]), fields))
        yield from found
        asked = {one.fields[PARENT_FIELD] for one in found if PARENT_FIELD in one.fields} - known


def _fields(
    connection: sqlite3.Connection, which: str, asked: object, query: RunQuery
) -> defaultdict[str, dict[str, str]]:
    """Return params and tags by run; runs share the texts that are alike."""
    fields: defaultdict[str, dict[str, str]] = defaultdict(dict)
    shared: dict[str, str] = {}
    for table in ("params", "tags"):
        names = [name.removeprefix(f"{table}.") for name in query.fields]
        rows = connection.execute(
            f"SELECT run_uuid, key, value FROM {table} WHERE {which} AND value IS NOT NULL "
            f"AND (length(value) <= {MAX_FIELD} OR key IN ({', '.join('?' * len(names))}))",
            (asked, *names),
        )
        for run, key, value in rows:
            name = f"{table}.{key}"
            fields[run][shared.setdefault(name, name)] = shared.setdefault(value, value)
    return fields


def _latest(
    connection: sqlite3.Connection, experiment: int, query: RunQuery
) -> defaultdict[str, dict[str, float]]:
    latest: defaultdict[str, dict[str, float]] = defaultdict(dict)
    marks = ", ".join("?" * len(query.metrics))
    rows = connection.execute(
        "SELECT run_uuid, key, value, is_nan FROM latest_metrics "
        f"WHERE {_OF_ACTIVE} AND key IN ({marks})",
        (experiment, *query.metrics),
    )
    for run, key, value, is_nan in rows:
        latest[run][key] = measured(value, is_nan)
    return latest


def _curves(
    connection: sqlite3.Connection, experiment: int, metric: str
) -> defaultdict[str, list[CurveValue]]:
    curves: defaultdict[str, list[CurveValue]] = defaultdict(list)
    rows = connection.execute(
        "SELECT run_uuid, step, value, is_nan, timestamp FROM metrics "
        f"WHERE {_OF_ACTIVE} AND key = ?",
        (experiment, metric),
    )
    for run, step, value, is_nan, time_ms in rows:
        curves[run].append(CurveValue(step, measured(value, is_nan), time_ms))
    return curves
