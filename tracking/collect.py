"""Collecting: brings what the event logs say into MLflow, one run a trial. Repeating adds nothing.

Decides nothing about how a run looks (`tracking.browse`) and touches no event log.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.layout import Layout
from jobs.lock import Lock
from tracking.browse import NOTE_TAG, trial_record
from tracking.comparison import Comparison
from tracking.endpoints import final_metric
from tracking.outcomes import Outcome
from tracking.runs import Change, Runs
from tracking.store import Store, StoreError, first_line, open_store, resolve_uri, shown_uri
from tracking.summary import shortened, study_record

if TYPE_CHECKING:
    from mlflow.entities import Experiment

_PRIMARY = "mlflow.experiment.primaryMetric"
_MAX_EXPERIMENT_NOTE = 20_000


class CollectError(Exception):
    """MLflow did not take everything; the message says what is there and what to do."""


@dataclass(frozen=True)
class Collected:
    """How many runs of trials were made, changed and left alone; `uri` has no password in it."""

    new: int
    updated: int
    unchanged: int
    uri: str
    experiment_id: str


def collect(
    layout: Layout,
    outcomes: Sequence[Outcome],
    *,
    uri: str | None = None,
    report: Path | None = None,
    note: str | None = None,
    comparison: Comparison | None = None,
    break_lock: bool = False,
    wait_s: float = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Collected:
    """Make the MLflow runs of a study say what `outcomes` say.

    Trials that have not started get no run. The files in the folder `report` become artifacts of
    the parent run, `note` (Markdown) its description, the verdicts of `comparison` its metrics and
    tags. `progress` is called with the numbers of trials done and to do. What one call leaves
    unfinished the next one completes.

    Raises LockHeld while another process collects this study for longer than `wait_s` seconds,
    CollectError where MLflow fails.
    """
    started = [one for one in outcomes if one.started_ms is not None]
    counted: dict[Change, int] = {"new": 0, "updated": 0, "unchanged": 0}
    where = resolve_uri(layout.root, uri)
    with Lock(layout.folder / "collect.lock", break_lock, wait_s), contextlib.ExitStack() as stack:
        with _explained(where, 0, len(started)):
            store = stack.enter_context(open_store(layout.root, uri))
            tags = _experiment_tags(outcomes, note)
            experiment_id = _experiment(store, layout.study, tags)
            runs = Runs(store.client, experiment_id, _owner(layout.folder))
            if started:
                record = study_record(outcomes, layout.study, note, comparison)
                parent = runs.bring_parent(record, report)
        for done, outcome in enumerate(started):
            with _explained(where, done, len(started)):
                counted[runs.bring_trial(trial_record(outcome, layout.study), parent)] += 1
            if progress:
                progress(done + 1, len(started))
        if counted["new"]:
            store.analyse()
    return Collected(**counted, uri=store.uri, experiment_id=experiment_id)


def _experiment_tags(outcomes: Sequence[Outcome], note: str | None) -> dict[str, str]:
    """Name what MLflow shows first: the final metric of the first workload that is planned."""
    tags = {"mlflow.experimentKind": "custom_model_development"}
    if outcomes:
        workload = outcomes[0].trial.workload
        tags[f"{_PRIMARY}.name"] = final_metric(workload)
        tags[f"{_PRIMARY}.greaterIsBetter"] = str(workload.read_as.goal == "max")
    return tags | ({NOTE_TAG: shortened(note, _MAX_EXPERIMENT_NOTE)} if note else {})


def _experiment(store: Store, study: str, tags: dict[str, str]) -> str:
    """Find or make the experiment of a study; return its id."""
    found: Experiment | None = store.client.get_experiment_by_name(study)
    if found is None:
        folder = None if store.artifacts is None else (store.artifacts / study).as_uri()
        return str(store.client.create_experiment(study, artifact_location=folder, tags=tags))
    if found.lifecycle_stage == "deleted":
        store.client.restore_experiment(found.experiment_id)  # its name cannot be given twice
    for key, value in tags.items():
        if found.tags.get(key) != value:
            store.client.set_experiment_tag(found.experiment_id, key, value)
    return str(found.experiment_id)


def _owner(folder: Path) -> str:
    """Name whose study it is; who collects does not matter."""
    try:
        return folder.owner()
    except KeyError:  # a container that does not know the user's name
        return str(folder.stat().st_uid)


@contextlib.contextmanager
def _explained(where: str, done: int, total: int) -> Iterator[None]:
    """Turn a failure of MLflow into a CollectError that says how far we came."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, (StoreError, OSError)):
            from mlflow.exceptions import MlflowException

            if not isinstance(error, MlflowException):
                raise
        raise CollectError(
            f"MLflow at {shown_uri(where)} failed: {first_line(error, where)}\n"
            f"{done} of {total} trials are up to date there, the next one perhaps in part; the "
            "event logs are untouched. See that the address is right and the server answers, "
            "then collect again: it goes on from there."
        ) from error
