"""Collects a study: makes one MLflow run for each of its trials. Repeating adds nothing.

Decides nothing about how a run looks (`tracking.mlflow_store.record`) and changes no event log.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from jobs.contract.layout import Layout
from jobs.contract.lock import Lock
from thermolion.errors import OperationError
from tracking.compare.endpoints import final_metric
from tracking.compare.result import Comparison
from tracking.mlflow_store.parents import by_cell, cell_record, shorten_note, study_record
from tracking.mlflow_store.record import (
    CELL_TAG,
    NOTE_TAG,
    STUDY_TAG,
    TRIAL_TAG,
    Commit,
    RunRecord,
    mlflow_key,
    trial_record,
)
from tracking.mlflow_store.runs import Change, Runs, SyncedState
from tracking.mlflow_store.store import (
    Store,
    StoreError,
    first_line,
    mask_uri,
    open_store,
    owner_of,
    resolve_uri,
)
from tracking.outcomes import Outcome

if TYPE_CHECKING:
    from mlflow.entities import Experiment

_PRIMARY = "mlflow.experiment.primaryMetric"
_MAX_NOTE = 20_000
_PAUSES_S = (1, 3)  # before a server is asked again
_FEW = 64  # runs that a server is asked for one by one; of more, all are read
# Codes of errors that may pass; a connection that was lost has the first one as well.
_PASSING = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}


class CollectError(OperationError):
    """MLflow did not take everything; the message says what is there and what to do.

    `may_pass`: the store did not answer or was out of order, so that a later try may succeed.
    """

    def __init__(self, message: str, may_pass: bool) -> None:
        super().__init__(message)
        self.may_pass = may_pass


@dataclass(frozen=True)
class Collected:
    """How many runs of trials were made, changed and left alone; `uri` has no password in it."""

    new: int
    updated: int
    unchanged: int
    uri: str
    experiment_id: str


class Collector:
    """Collects one study into one store, as often as `collect` is called.

    From the second time on, what has not changed since costs next to nothing. `restore` takes the
    experiment of the study out of the trash, if it is there. With `checkpoints`, those that were
    kept of trials that have ended become artifacts of their runs.
    """

    def __init__(
        self,
        layout: Layout,
        uri: str | None = None,
        restore: bool = False,
        checkpoints: bool = False,
    ) -> None:
        self._layout = layout
        self._uri = uri
        self._address = resolve_uri(layout.root, uri)
        self._restore, self._checkpoints = restore, checkpoints
        # By trial: the outcome that its run was last synced with, and the state of that record.
        self._synced: dict[str, tuple[Outcome, SyncedState]] = {}
        self._runs: Runs | None = None
        self._commits: Mapping[str, Commit] = {}
        self._done = 0

    def collect(
        self,
        outcomes: Sequence[Outcome],
        *,
        report: Path | None = None,
        note: str | None = None,
        comparison: Comparison | None = None,
        break_lock: bool = False,
        wait_s: float = 0,
        progress: Callable[[int, int], None] | None = None,
        commits: Mapping[str, Commit] | None = None,
    ) -> Collected:
        """Bring the MLflow runs of the study up to date with `outcomes`.

        Trials that have not started get no run. The files in the folder `report` become artifacts
        of the run of the study, `note` (Markdown) its description, the verdicts of `comparison`
        its metrics and tags. `progress` is called with the numbers of trials done and to do.
        `commits` are those of the user's code, by submission. A server that does not answer is
        asked again, twice. What one call leaves unfinished the next one completes.

        Raises LockHeld if another process collects this study for longer than `wait_s` seconds,
        CollectError if MLflow fails.
        """
        self._commits = commits or {}
        pauses = list(_PAUSES_S) if self._address.startswith("http") else []
        self._done = 0
        with Lock(self._layout.folder / "collect.lock", break_lock, wait_s):
            while True:
                try:
                    return self._collect(outcomes, report, note, comparison, progress)
                except CollectError as error:
                    self._runs = None  # what has arrived is not known
                    if not (error.may_pass and pauses):
                        raise
                time.sleep(pauses.pop(0))

    def _collect(
        self,
        outcomes: Sequence[Outcome],
        report: Path | None,
        note: str | None,
        comparison: Comparison | None,
        progress: Callable[[int, int], None] | None,
    ) -> Collected:
        started = [one for one in outcomes if one.started_ms is not None]
        counted: dict[Change, int] = {"new": 0, "updated": 0, "unchanged": 0}
        with contextlib.ExitStack() as stack:
            with self._explain_failures(0, len(started)):
                opened = open_store(self._layout.root, self._uri, to_write=True)
                store = stack.enter_context(opened)
                tags = _experiment_tags(outcomes, note)
                experiment = _ensure_experiment(store, self._layout.study, tags, self._restore)
                runs = self._runs = self._find_runs(store, experiment, started)
                parents: dict[str, str] = {}
                if started:
                    whole = study_record(outcomes, self._layout.study, note, comparison)
                    parents = self._sync_parents(runs, whole, outcomes, report)
            for done, outcome in enumerate(started):
                with self._explain_failures(done, len(started)):
                    counted[self._sync_trial(runs, outcome, parents[outcome.trial.id])] += 1
                    if self._checkpoints and outcome.has_result:
                        self._sync_checkpoints(runs, outcome.trial.id)
                if progress:
                    progress(done + 1, len(started))
            with self._explain_failures(len(started), len(started)):
                # No trial is below them any more.
                runs.remove_all_but(CELL_TAG, set(parents.values()))
                # Statistics of a store that has grown by a tenth are no longer its own.
                if 10 * counted["new"] > counted["unchanged"] + counted["updated"]:
                    store.analyse()
        return Collected(**counted, uri=store.uri, experiment_id=experiment)

    def _find_runs(self, store: Store, experiment_id: str, started: Sequence[Outcome]) -> Runs:
        """Return the runs of the experiment; those that will change are known, or all of them."""
        changed = [one for one in started if not self._is_as_synced(one)]
        runs = Runs(store.client, experiment_id, owner_of(self._layout.folder))
        before = self._runs
        if before is None or store.database is not None or len(changed) > _FEW:
            runs.read(store.database)
        else:
            runs.recall(before)
            # The runs above them change as well, and may be in the trash by now.
            above = [(STUDY_TAG, self._layout.study)] if changed else []
            above += [(CELL_TAG, key) for key in by_cell(changed)]
            runs.look_up([*above, *((TRIAL_TAG, one.trial.id) for one in changed)])
        return runs

    def _sync_parents(
        self, runs: Runs, whole: RunRecord, outcomes: Sequence[Outcome], report: Path | None
    ) -> dict[str, str]:
        """Sync the runs above those of trials; return the id of the run above, by trial."""
        whole_id, _ = runs.sync(whole)
        if report is not None:
            runs.sync_report(whole, report)
        above: dict[str, str] = {}
        for key, trials in by_cell(outcomes).items():
            cell_id, _ = runs.sync(cell_record(key, trials, self._layout.study), whole_id)
            above |= {one.trial.id: cell_id for one in trials}
        return above

    def _sync_trial(self, runs: Runs, outcome: Outcome, above: str) -> Change:
        name = (TRIAL_TAG, outcome.trial.id)
        if self._is_as_synced(outcome) and runs.has(
            name, self._synced[outcome.trial.id][1], above
        ):
            return "unchanged"
        commit = self._commits.get(outcome.job.get("submission", ""))
        record = trial_record(outcome, self._layout.study, commit)
        _, change = runs.sync(record, above)
        self._synced[outcome.trial.id] = outcome, (record.fingerprint, record.status)
        return change

    def _sync_checkpoints(self, runs: Runs, trial: str) -> None:
        layout = self._layout
        kept = [layout.checkpoint(trial), layout.best_checkpoint(trial)]
        runs.sync_checkpoints((TRIAL_TAG, trial), [file for file in kept if file.exists()])

    def _is_as_synced(self, outcome: Outcome) -> bool:
        # Quick: a log that has not changed gives the very same objects again.
        known = self._synced.get(outcome.trial.id)
        return known is not None and known[0] == outcome

    @contextlib.contextmanager
    def _explain_failures(self, done: int, total: int) -> Iterator[None]:
        """Turn a failure of MLflow into a CollectError that says how many trials are done."""
        self._done = max(self._done, done)  # an earlier try may have sent more
        try:
            yield
        except StoreError as error:
            message = f"{error}\nNothing was sent; the event logs are untouched."
            raise CollectError(message, may_pass=False) from error
        except Exception as error:
            from mlflow.exceptions import MlflowException

            if not isinstance(error, (OSError, MlflowException)):
                raise
            address = self._address
            raise CollectError(
                f"MLflow at {mask_uri(address)} failed: {first_line(error, address)}\n"
                f"{self._done} of {total} trials are up to date there, the next one perhaps in "
                "part; the event logs are untouched. See that the address is right and the server "
                "answers, then collect again: it goes on from there.",
                may_pass=isinstance(error, OSError) or error.error_code in _PASSING,
            ) from error


def _experiment_tags(outcomes: Sequence[Outcome], note: str | None) -> dict[str, str]:
    """Name what MLflow shows first: the final metric of the first workload that is planned."""
    tags = {"mlflow.experimentKind": "custom_model_development"}
    if outcomes:
        workload = outcomes[0].trial.workload
        tags[f"{_PRIMARY}.name"] = mlflow_key(final_metric(workload))
        tags[f"{_PRIMARY}.greaterIsBetter"] = str(workload.metric_spec.goal == "max")
    return tags | ({NOTE_TAG: shorten_note(note, _MAX_NOTE)} if note else {})


def _ensure_experiment(store: Store, study: str, tags: Mapping[str, str], restore: bool) -> str:
    """Find or make the experiment of a study, with these tags; return its id.

    Raises StoreError if it is in the trash and not to be restored.
    """
    experiment: Experiment | None = store.client.get_experiment_by_name(study)
    if experiment is None:
        folder = None if store.artifacts is None else (store.artifacts / study).as_uri()
        return str(
            store.client.create_experiment(study, artifact_location=folder, tags=dict(tags))
        )
    _check_artifacts(store, experiment)
    experiment_id = str(experiment.experiment_id)
    if experiment.lifecycle_stage == "deleted":
        if not restore:
            raise StoreError(  # MLflow keeps the name of what was deleted there
                f"experiment {study!r} was deleted there, and its name is still taken. Bring it "
                "back with all its runs: collect with --restore. Delete it for good, and have it "
                f"made anew: mlflow gc --experiment-ids {experiment_id} --backend-store-uri "
                f"{store.uri}. Or name another store with --mlflow"
            )
        store.client.restore_experiment(experiment_id)
    for tag, value in tags.items():
        if experiment.tags.get(tag) != value:
            store.client.set_experiment_tag(experiment_id, tag, value)
    return experiment_id


def _check_artifacts(store: Store, experiment: "Experiment") -> None:
    """Raise StoreError if an embedded store was moved: MLflow would go on writing where it was."""
    folder = Path(unquote(urlsplit(experiment.artifact_location).path)).parent
    if store.artifacts is None or folder.name != store.artifacts.name:
        return  # of a server, or the user's own
    if folder.exists() and store.artifacts.exists() and folder.samefile(store.artifacts):
        return
    if folder != store.artifacts:
        raise StoreError(
            f"the store was moved: files of {experiment.name!r} go to {folder}, which MLflow has "
            f"written down. Move it back, or move {store.database} and {store.artifacts} away, "
            "and collect again: both are made anew from the logs"
        )
