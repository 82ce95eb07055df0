"""The runs of an MLflow experiment, by the tables of an embedded store or by its client.

Writes nothing.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tracking.foreign.mlflow_sql import (
    MAX_FIELD,
    StoredExperiment,
    measured,
    read_tables,
    require_experiment,
    state_of,
)
from tracking.foreign.parent_runs import PARENT_FIELD, inherit_settings
from tracking.foreign.run import (
    CurveValue,
    ForeignRun,
    ForeignRuns,
    RunQuery,
    first_values,
    require_metrics,
)
from tracking.mlflow_store.store import (
    ADDRESSES,
    Store,
    StoreError,
    database_of,
    mask_uri,
    open_store,
    resolve_uri,
    search_runs,
    set_meanwhile,
    sqlite_uri,
)

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run

_TOLERATED = 3  # runs, one after another, whose curve cannot be read: then it is the store


def read_mlflow(root: Path, uri: str | None, experiment: str, query: RunQuery) -> ForeignRuns:
    """Return the runs of an experiment; `query.only` is a filter of MLflow, `uri` that of a store.

    A run that lacks a setting has that of its parent run. Raises StoreError for a store that
    cannot be read and an experiment that is not there, RunSourceError for a metric of no run.
    """
    address = _find_store(resolve_uri(root, uri))
    database = database_of(address)
    stored = None if database is None else read_tables(database, experiment, query)
    if stored is None:
        # MLflow reads a folder of files (`mlruns`) only if it is asked to. Only meanwhile:
        # `collect` of the same process is not to write into one.
        folders = set_meanwhile({"MLFLOW_ALLOW_FILE_STORE": "true"})
        with folders, open_store(root, address, is_foreign=True) as store:
            stored, chosen = _read_by_client(store, experiment, query)
    elif query.only and stored.runs:
        with open_store(root, address, is_foreign=True) as store:
            found = list(_search(store, stored.id, query.only))
        chosen = {run.info.run_id for run in found}
        stored = replace(stored, metrics=_names_of_metrics(found))
    else:
        chosen = {run.id for run in stored.runs}
    _require_runs(stored, chosen, mask_uri(address), query)
    runs, notes = inherit_settings((*stored.runs, *stored.parents), chosen, query)
    label = f"the MLflow experiment {experiment!r}"
    left = f", of those that --filter {query.only!r} leaves," if query.only else ""
    require_metrics(f"{label}{left}", query.metrics, runs, stored.metrics)
    if stored.in_trash:
        notes.append(
            f"{stored.in_trash} run{'s' if stored.in_trash > 1 else ''} of the experiment "
            "lie in MLflow's trash and take no part (mlflow runs restore --run-id ID)."
        )
    return ForeignRuns(label, tuple(runs), (*stored.notes, *notes))


def _find_store(address: str) -> str:
    """Return the address of a store, which may be given as a path; raises StoreError.

    MLflow would make a folder that is not there, and files in one that is no store.
    """
    path = _path_of(address)
    if path is None:
        return address
    if path.is_file():
        return sqlite_uri(path)
    if any(path.glob("*/meta.yaml")):
        return address
    what = "the folder has no experiment in it" if path.is_dir() else "there is no such file"
    raise StoreError(f"no MLflow store at {address}: {what}. An address is one of {ADDRESSES}")


def _path_of(address: str) -> Path | None:
    """Return the folder or file that an address names by its path; None if it is another one."""
    scheme, colon, rest = address.partition(":")
    is_drive = len(scheme) == 1  # C:\\mlruns: MLflow would make a folder of that name
    if (colon and scheme != "file" and not is_drive) or address == "databricks":
        return None
    return Path(unquote(rest.removeprefix("//")) if colon and not is_drive else address)


def _require_runs(
    stored: StoredExperiment, chosen: Collection[str], uri: str, query: RunQuery
) -> None:
    """Raise StoreError if there is no run to read, and say why."""
    store = f"MLFLOW_TRACKING_URI={uri}"
    if stored.deleted:
        raise StoreError(
            f"experiment {stored.name!r} at {uri} was deleted and lies in MLflow's trash with its "
            f"runs. Restore it: {store} mlflow experiments restore --experiment-id {stored.id}"
        )
    if chosen:
        return
    if stored.runs:
        raise StoreError(
            f"--filter {query.only!r} leaves none of the {len(stored.runs)} runs of "
            f"{stored.name!r} at {uri}"
        )
    if stored.in_trash:
        raise StoreError(
            f"all {stored.in_trash} runs of {stored.name!r} at {uri} were deleted and lie in "
            f"MLflow's trash. Restore them: {store} mlflow runs restore --run-id ID"
        )
    raise StoreError(f"experiment {stored.name!r} at {uri} has no runs")


def _read_by_client(
    store: Store, experiment: str, query: RunQuery
) -> tuple[StoredExperiment, set[str]]:
    """Return an experiment of a server, and the runs that the query chooses, by id."""
    try:
        known = store.client.get_experiment_by_name(experiment)
    except Exception as error:  # a foreign library: its ways to fail cannot be listed
        raise _unreadable(store, error) from error
    if known is None:
        names = [one.name for one in store.client.search_experiments()]
        require_experiment(experiment, names, store.uri)
    assert known is not None
    if known.lifecycle_stage == "deleted":
        return _stored(known, (), (), [], 0, []), set()
    runs, notes, is_damaged = [], list[str](), False
    try:
        found = list(_search(store, known.experiment_id, query.only))
    except StoreError:
        if query.only:
            raise
        found, is_damaged = _search_folder(store, known.experiment_id, notes), True
    if query.only and not found:  # of how many?
        every = [_read(run, (), query) for run in _search(store, known.experiment_id, "")]
        in_trash = 0 if every else _count_in_trash(store, known.experiment_id)
        return _stored(known, every, (), [], in_trash, []), set()
    failures = 0
    for run in found:
        try:
            runs.append(_read(run, _curve(store, run, query), query))
            failures = 0
        except Exception as error:  # as above
            failures += 1
            if failures > _TOLERATED:
                raise _unreadable(store, error) from error
            reason = store.first_line(error)
            notes.append(f"Run {run.info.run_id} cannot be read, and is left out: {reason}")
    parents = _missing_parents(store, runs, query)
    in_trash = 0 if is_damaged else _count_in_trash(store, known.experiment_id)
    chosen = {run.id for run in runs}
    return _stored(known, runs, parents, found, in_trash, notes), chosen


def _stored(
    known: "Experiment",
    runs: Collection[ForeignRun],
    parents: Collection[ForeignRun],
    found: Collection["Run"],
    in_trash: int,
    notes: Collection[str],
) -> StoredExperiment:
    return StoredExperiment(
        known.experiment_id,
        known.name,
        known.lifecycle_stage == "deleted",
        tuple(runs),
        tuple(parents),
        _names_of_metrics(found),
        in_trash,
        tuple(notes),
    )


def _names_of_metrics(runs: Iterable["Run"]) -> tuple[str, ...]:
    return tuple(sorted({name for run in runs for name in run.data.metrics}))


def _search(store: Store, experiment_id: str, only: str) -> Iterator["Run"]:
    try:
        yield from search_runs(store.client, experiment_id, only, ["attributes.start_time ASC"])
    except Exception as error:  # a foreign library: its ways to fail cannot be listed
        raise _unreadable(store, error) from error


def _search_folder(store: Store, experiment_id: str, notes: list[str]) -> list["Run"]:
    """Return the runs of a folder of files, one by one: MLflow's search fails of a damaged one.

    Adds a note for each that is left out. Raises what the search raises if it is not that.
    """
    folder = _path_of(store.address)
    places = [] if folder is None else sorted((folder / experiment_id).glob("*/meta.yaml"))
    found = []
    for place in places:
        try:
            found.append(store.client.get_run(place.parent.name))
        except Exception as error:  # a foreign library: its ways to fail cannot be listed
            reason = store.first_line(error)
            notes.append(f"Run {place.parent.name} cannot be read, and is left out: {reason}")
    if not found:
        return list(_search(store, experiment_id, ""))
    active = [run for run in found if run.info.lifecycle_stage == "active"]
    return sorted(active, key=lambda run: run.info.start_time or 0)


def _count_in_trash(store: Store, experiment_id: str) -> int:
    return sum(1 for _ in search_runs(store.client, experiment_id, "", deleted=True))


def _missing_parents(
    store: Store, runs: Collection[ForeignRun], query: RunQuery
) -> list[ForeignRun]:
    """Return the parents of runs, and theirs, which are not among them.

    A filter has left them out, they lie in the trash, or they are of another experiment.
    """
    known = {run.id for run in runs}
    parents: list[ForeignRun] = []
    asked = {run.fields[PARENT_FIELD] for run in runs if PARENT_FIELD in run.fields} - known
    while asked:
        for run_id in sorted(asked):
            try:
                parents.append(_read(store.client.get_run(run_id), (), query))
            except Exception:  # deleted for good: its children have what they have
                continue
        known |= asked
        asked = {one.fields[PARENT_FIELD] for one in parents if PARENT_FIELD in one.fields} - known
    return parents


def _curve(store: Store, run: "Run", query: RunQuery) -> tuple[CurveValue, ...]:
    if query.curve_metric not in run.data.metrics:
        return ()
    history = store.client.get_metric_history(run.info.run_id, query.curve_metric)
    return first_values(
        CurveValue(one.step, measured(one.value), one.timestamp) for one in history
    )


def _read(run: "Run", curve: tuple[CurveValue, ...], query: RunQuery) -> ForeignRun:
    logged = [("params", run.data.params), ("tags", run.data.tags)]
    fields: Mapping[str, str] = {
        **{
            f"{kind}.{name}": value
            for kind, texts in logged
            for name, value in texts.items()
            if len(value) <= MAX_FIELD or f"{kind}.{name}" in query.fields
        },
        "attributes.run_name": run.info.run_name or "",
        "attributes.run_id": run.info.run_id,
    }
    return ForeignRun(
        run.info.run_id,
        run.info.run_name or run.info.run_id,
        state_of(run.info.status),
        fields,
        curve,
        {
            name: measured(float(value))
            for name, value in run.data.metrics.items()
            if name in query.metrics
        },
        run.info.start_time,
        run.info.end_time,
    )


def _unreadable(store: Store, error: Exception) -> StoreError:
    return StoreError(f"cannot read MLflow at {store.uri}: {store.first_line(error)}")
