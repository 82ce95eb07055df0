"""Which runs of a study a store has, and how far each is: little of each, in one look.

Changes nothing. MLflow's own search brings every param and metric of every run along, which
takes 2 ms a run (19 s for 10,000) and their memory. The tables of an embedded store say the same
in microseconds, but are MLflow's own affair: they are read only if their schema is one that we
know. Servers, and every other schema, are asked through the client.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tracking.browse import CELL_TAG, FINGERPRINT_TAG, STUDY_TAG, TRIAL_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FILES_TAG = "thermolion.files"
PARENT_TAG = "mlflow.parentRunId"
_NAMING = (TRIAL_TAG, STUDY_TAG, CELL_TAG)
_KEPT = (*_NAMING, FINGERPRINT_TAG, PARENT_TAG, FILES_TAG)
# Revisions of MLflow's schema (its table `alembic_version`) whose runs and tags are known to lie
# as `_from_tables` reads them. Add one if the tests of this file pass with its MLflow.
_KNOWN_SCHEMAS = frozenset({"dc11669786a5"})  # MLflow 3.17

# What a run is of: the tag that names it, and its value.
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class KnownRun:
    """What tells whether a run is up to date; `end_ms` is UTC."""

    run_id: str
    name: Name
    fingerprint: str | None
    parent_id: str | None
    files: str | None
    status: str
    end_ms: int | None


def all_runs(client: "MlflowClient", experiment_id: str, database: Path | None) -> list[KnownRun]:
    """Return all active runs of an experiment that are ours, the oldest first.

    `database` is the sqlite file of an embedded store.
    """
    if database is not None:
        with (
            contextlib.suppress(sqlite3.Error),  # whatever it is: the client knows better
            contextlib.closing(sqlite3.connect(database, timeout=30)) as connection,
        ):
            said = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            if len(said) == 1 and said[0][0] in _KNOWN_SCHEMAS:
                return _from_tables(connection, experiment_id)
    return list(_from_search(client, experiment_id, None))


def run_of(client: "MlflowClient", experiment_id: str, name: Name) -> list[KnownRun]:
    """Return the active runs of one name, the oldest first."""
    tag, value = name
    quoted = value.replace("'", "''")
    return list(_from_search(client, experiment_id, f"tags.`{tag}` = '{quoted}'"))


def _from_tables(connection: sqlite3.Connection, experiment_id: str) -> list[KnownRun]:
    marks = ", ".join("?" * len(_KEPT))
    query = (
        "SELECT runs.run_uuid, runs.status, runs.end_time, tags.key, tags.value "
        "FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid "
        f"WHERE runs.experiment_id = ? AND runs.lifecycle_stage = 'active' AND key IN ({marks}) "
        "ORDER BY runs.start_time, runs.run_uuid"
    )
    rows = connection.execute(query, (int(experiment_id), *_KEPT)).fetchall()
    found: dict[str, tuple[str, int | None, dict[str, str]]] = {}
    for run_id, status, end_ms, key, value in rows:
        found.setdefault(run_id, (status, end_ms, {}))[2][key] = value
    runs = [_known(run_id, *facts) for run_id, facts in found.items()]
    return [run for run in runs if run is not None]


def _from_search(
    client: "MlflowClient", experiment_id: str, where: str | None
) -> Iterator[KnownRun]:
    token = None
    while True:
        page: Iterable[Run] = (
            answer := client.search_runs(
                [experiment_id],
                filter_string=where or "",
                max_results=1000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
        )
        for run in page:
            known = _known(run.info.run_id, run.info.status, run.info.end_time, run.data.tags)
            if known is not None:
                yield known
        token = answer.token
        if not token:
            return


def _known(run_id: str, status: str, end_ms: int | None, tags: dict[str, str]) -> KnownRun | None:
    name = next(((tag, tags[tag]) for tag in _NAMING if tags.get(tag)), None)
    if name is None:
        return None
    return KnownRun(
        run_id=run_id,
        name=name,
        fingerprint=tags.get(FINGERPRINT_TAG),
        parent_id=tags.get(PARENT_TAG),
        files=tags.get(FILES_TAG),
        status=status,
        end_ms=end_ms,
    )
