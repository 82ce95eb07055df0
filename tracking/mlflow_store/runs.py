"""The runs of one study in MLflow: finds them, and brings each up to date with its record.

Decides nothing about how a run looks (`tracking.mlflow_store.record` does).
"""

import contextlib
import hashlib
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tracking.mlflow_store.record import (
    FINGERPRINT_TAG,
    NAMING_TAGS,
    NOTE_TAG,
    STATE_TAG,
    MetricPoint,
    Name,
    RunRecord,
)
from tracking.mlflow_store.store import search_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FILES_TAG = "thermolion.files"
PARENT_TAG = "mlflow.parentRunId"
_READ_TAGS = (*NAMING_TAGS, FINGERPRINT_TAG, PARENT_TAG, FILES_TAG)
# Revisions of MLflow's schema (its table `alembic_version`) whose runs and tags are known to lie
# as `_from_tables` reads them. Add one if the tests of this file pass with its MLflow.
_KNOWN_SCHEMAS = frozenset({"dc11669786a5"})  # MLflow 3.17
_MAX_BATCH_PARAMS, _MAX_BATCH = 100, 1000  # what MLflow takes in one request

_Identity = tuple[str, int, int, str]  # of a metric point
SyncedState = tuple[str, str]  # fingerprint and status of a record
Change = Literal["new", "updated", "unchanged"]


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

    `database` is the sqlite file of an embedded store. MLflow's own search loads every param and
    metric of every run, which takes 2 ms a run (19 s for 10,000) and their memory. The tables of
    an embedded store say the same in microseconds, but are private to MLflow: they are read only
    if their schema is one that we know. Servers, and every other schema, are asked through the
    client.
    """
    if database is not None:
        with (
            contextlib.suppress(sqlite3.Error),  # whatever it is: the client knows better
            contextlib.closing(sqlite3.connect(database, timeout=30)) as connection,
        ):
            versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            if len(versions) == 1 and versions[0][0] in _KNOWN_SCHEMAS:
                return _from_tables(connection, experiment_id)
    return list(_from_search(client, experiment_id))


def run_of(client: "MlflowClient", experiment_id: str, name: Name) -> list[KnownRun]:
    """Return the active runs of one name, the oldest first."""
    tag, value = name
    quoted = value.replace("'", "''")
    return list(_from_search(client, experiment_id, f"tags.`{tag}` = '{quoted}'"))


def _from_tables(connection: sqlite3.Connection, experiment_id: str) -> list[KnownRun]:
    marks = ", ".join("?" * len(_READ_TAGS))
    query = (
        "SELECT runs.run_uuid, runs.status, runs.end_time, tags.key, tags.value "
        "FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid "
        f"WHERE runs.experiment_id = ? AND runs.lifecycle_stage = 'active' AND key IN ({marks}) "
        "ORDER BY runs.start_time, runs.run_uuid"
    )
    rows = connection.execute(query, (int(experiment_id), *_READ_TAGS)).fetchall()
    facts: dict[str, tuple[str, int | None, dict[str, str]]] = {}
    for run_id, status, end_ms, key, value in rows:
        facts.setdefault(run_id, (status, end_ms, {}))[2][key] = value
    runs = (_known(run_id, *of_run) for run_id, of_run in facts.items())
    return [run for run in runs if run is not None]


def _from_search(
    client: "MlflowClient", experiment_id: str, condition: str = ""
) -> Iterator[KnownRun]:
    for run in search_runs(client, experiment_id, condition, ["attributes.start_time ASC"]):
        known = _known(run.info.run_id, run.info.status, run.info.end_time, run.data.tags)
        if known is not None:
            yield known


def _known(run_id: str, status: str, end_ms: int | None, tags: dict[str, str]) -> KnownRun | None:
    name = next(((tag, tags[tag]) for tag in NAMING_TAGS if tags.get(tag)), None)
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


class Runs:
    """The runs of one experiment, each to be brought up to date.

    A run that is up to date costs no request. `read` or `look_up` comes first.
    """

    def __init__(self, client: "MlflowClient", experiment_id: str, user: str) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._user = user
        self._known: dict[Name, KnownRun] = {}

    def read(self, database: Path | None) -> None:
        """Find all runs; `database` is the sqlite file of an embedded store."""
        self._known.clear()
        self._learn(all_runs(self._client, self._experiment_id, database))

    def look_up(self, names: Iterable[Name]) -> None:
        """Find the runs of these names alone."""
        for name in names:
            self._known.pop(name, None)
            self._learn(run_of(self._client, self._experiment_id, name))

    def recall(self, earlier: "Runs") -> None:
        """Take over what `earlier` knew, if it was of the same experiment."""
        if earlier._experiment_id == self._experiment_id:
            self._known = dict(earlier._known)

    def has(self, name: Name, synced: SyncedState, parent_id: str) -> bool:
        """Return True if a run is there, below this parent, as it was last synced."""
        known = self._known.get(name)
        wanted = (*synced, parent_id)
        return known is not None and (known.fingerprint, known.status, known.parent_id) == wanted

    def sync(self, record: RunRecord, parent_id: str | None = None) -> tuple[str, Change]:
        """Bring a run up to date, below its parent; return its id and what was done."""
        # Tags that differ between stores take no part in the fingerprint.
        more = {} if parent_id is None else {PARENT_TAG: parent_id}
        known = self._known.get(record.of)
        if known is None:
            return self._create(record, more), "new"
        if _is_current(known, record, more):
            return known.run_id, "unchanged"
        run = self._client.get_run(known.run_id)
        logged = self._points(run, record)
        wanted = {_identity(point): point for point in record.metrics}
        params = run.data.params
        agreeing = all(params.get(key, value) == value for key, value in record.params.items())
        if agreeing and logged <= wanted.keys():
            missing = [point for one, point in wanted.items() if one not in logged]
            self._extend(run, record, missing, more)
            self._remember(run, record, more, known.files)
            return known.run_id, "updated"
        # MLflow takes back no point and changes no param: this run can never become the record.
        self._client.delete_run(known.run_id)
        return self._create(record, more), "updated"

    def sync_report(self, record: RunRecord, report: Path) -> None:
        """Upload the files of the report to the run of the study, unless it has just these."""
        known, wanted = self._known[record.of], _digest(report)
        if known.files != wanted:
            self._client.log_artifacts(known.run_id, str(report))
            self._has_files(known, wanted)

    def sync_checkpoints(self, name: Name, files: Sequence[Path]) -> None:
        """Upload kept checkpoints to the run of their trial, unless it has just these."""
        known, wanted = self._known[name], _stamp(files)
        if files and known.files != wanted:
            for file in files:
                self._client.log_artifact(known.run_id, str(file), "checkpoints")
            self._has_files(known, wanted)

    def remove_all_but(self, tag: str, kept: Collection[str]) -> None:
        """Move the runs that `tag` names to the trash, except those with the ids `kept`."""
        for name, known in list(self._known.items()):
            if name[0] == tag and known.run_id not in kept:
                self._client.delete_run(known.run_id)
                del self._known[name]

    def _has_files(self, known: KnownRun, files: str) -> None:
        self._client.set_tag(known.run_id, FILES_TAG, files)
        self._known[known.name] = replace(known, files=files)

    def _learn(self, runs: Iterable[KnownRun]) -> None:
        for run in runs:
            known = self._known.get(run.name)
            if known is None:
                self._known[run.name] = run
            elif known.run_id != run.run_id:
                # One trial has one run: a proxy that sent a request again may have made a second.
                self._client.delete_run(run.run_id)

    def _create(self, record: RunRecord, more: dict[str, str]) -> str:
        tags = {**record.tags, **more, "mlflow.user": self._user}
        vouched = {FINGERPRINT_TAG: record.fingerprint}
        # A run that has ended is current once its status says so, which comes last: its
        # fingerprint may come first, and spares a transaction.
        first, last = (vouched, {}) if record.end_ms is not None else ({}, vouched)
        run = self._client.create_run(
            self._experiment_id,
            start_time=record.start_ms,
            tags=tags | first,
            run_name=record.name,
        )
        run_id = str(run.info.run_id)
        self._give_data(run, record)
        self._send(run_id, record.metrics, record.params, last)
        self._set_status(run, record)
        self._remember(run, record, more, None)
        return run_id

    def _remember(
        self, run: "Run", record: RunRecord, more: Mapping[str, str], files: str | None
    ) -> None:
        self._known[record.of] = KnownRun(
            run_id=run.info.run_id,
            name=record.of,
            fingerprint=record.fingerprint,
            parent_id=more.get(PARENT_TAG),
            files=files,
            status=record.status,
            end_ms=record.end_ms,
        )

    def _give_data(self, run: "Run", record: RunRecord) -> None:
        """Name the data sets that a run was given; those that it names already stay."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        named = [] if run.inputs is None else run.inputs.dataset_inputs
        there = {(one.dataset.name, one.dataset.digest) for one in named}
        given = [
            DatasetInput(
                Dataset(one.name, one.digest, "thermolion", one.source),
                [InputTag("mlflow.data.context", "training")],
            )
            for one in record.data
            if (one.name, one.digest) not in there
        ]
        if given:
            self._client.log_inputs(run.info.run_id, datasets=given)

    def _extend(
        self, run: "Run", record: RunRecord, missing: list[MetricPoint], more: dict[str, str]
    ) -> None:
        tags = run.data.tags
        params = {key: v for key, v in record.params.items() if key not in run.data.params}
        for key in _outdated(tags, record):
            self._client.delete_tag(run.info.run_id, key)
        wanted = {**record.tags, **more, FINGERPRINT_TAG: record.fingerprint}
        changed = {key: value for key, value in wanted.items() if tags.get(key) != value}
        self._give_data(run, record)
        self._send(run.info.run_id, missing, params, changed)
        self._set_status(run, record)

    def _send(
        self,
        run_id: str,
        points: Sequence[MetricPoint],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        """Send everything; the tags come last: their fingerprint says that the rest is there."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(one.key, one.value, one.time_ms, one.step) for one in points]
        run_params = [Param(key, value) for key, value in params.items()]
        run_tags = [RunTag(key, value) for key, value in tags.items()]
        size = len(metrics) + len(run_params) + len(run_tags)
        if len(run_params) > _MAX_BATCH_PARAMS or size > _MAX_BATCH:
            self._client.log_batch(run_id, metrics=metrics, params=run_params)
            metrics, run_params = [], []
        self._client.log_batch(run_id, metrics=metrics, params=run_params, tags=run_tags)

    def _set_status(self, run: "Run", record: RunRecord) -> None:
        """Set the status; the end too if there is one, else an earlier end stays for now."""
        if record.end_ms is not None:
            self._client.set_terminated(run.info.run_id, record.status, record.end_ms)
        elif run.info.status != record.status:
            self._client.update_run(run.info.run_id, record.status)

    def _points(self, run: "Run", record: RunRecord) -> set[_Identity]:
        """Read the histories of our metrics; those that a user has added are left alone."""
        keys = {point.key for point in record.metrics} & run.data.metrics.keys()
        return {
            _identity(MetricPoint(one.key, one.value, one.timestamp, one.step))
            for key in keys
            for one in self._client.get_metric_history(run.info.run_id, key)
        }


def _is_current(known: KnownRun, record: RunRecord, more: Mapping[str, str]) -> bool:
    return (
        known.fingerprint == record.fingerprint
        and known.parent_id == more.get(PARENT_TAG)
        and known.status == record.status
        and record.end_ms in (None, known.end_ms)
    )


def _outdated(tags: Mapping[str, str], record: RunRecord) -> list[str]:
    """Name the tags that an earlier record set and this one lacks; a user's own stay."""
    ours = [key for key in tags if key.startswith("thermolion.")]
    if tags.get(NOTE_TAG, "").startswith(f"**{tags.get(STATE_TAG)}**"):
        ours.append(NOTE_TAG)
    return [key for key in ours if key not in {*record.tags, FINGERPRINT_TAG, FILES_TAG}]


def _identity(point: MetricPoint) -> _Identity:
    return point.key, point.step, point.time_ms, repr(point.value)  # NaN differs from itself


def _stamp(files: Sequence[Path]) -> str:
    """Return 16 hex digits over names, sizes and times: checkpoints are too large to be read."""
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _digest(folder: Path) -> str:
    """Return 16 hex digits over the names and contents of all files."""
    content = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, data = str(path.relative_to(folder)), path.read_bytes()
        content.update(f"{name}\0{len(data)}\0".encode() + data)
    return content.hexdigest()[:16]
