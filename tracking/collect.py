"""Collecting: brings what the event logs say into MLflow, one run a trial. Repeating adds nothing.

Decides nothing about how a run looks (`tracking.browse`) and touches no event log.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jobs.layout import Layout
from jobs.lock import Lock
from tracking.browse import (
    FINGERPRINT_TAG,
    NOTE_TAG,
    TRIAL_TAG,
    MetricPoint,
    RunRecord,
    trial_record,
)
from tracking.outcomes import Outcome
from tracking.store import Store, StoreError, open_store, resolve_uri, shown_uri
from tracking.summary import STUDY_TAG, shortened, study_record

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run

_PARENT_TAG = "mlflow.parentRunId"
_EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "test_accuracy",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "True",
}
_MAX_EXPERIMENT_NOTE = 20_000
_MAX_BATCH_PARAMS, _MAX_BATCH = 100, 1000  # what MLflow takes in one request

Change = Literal["new", "updated", "unchanged"]


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
    break_lock: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Collected:
    """Make the MLflow runs of a study say what `outcomes` say.

    Trials that have not started get no run. The files in the folder `report` become artifacts of
    the parent run, `note` (Markdown) its description. `progress` is called with the numbers of
    trials done and to do. What one call leaves unfinished the next one completes.

    Raises LockHeld while another process collects this study, CollectError where MLflow fails.
    """
    started = [one for one in outcomes if one.started_ms is not None]
    counted: dict[Change, int] = {"new": 0, "updated": 0, "unchanged": 0}
    where = resolve_uri(layout.root, uri)
    with Lock(layout.folder / "collect.lock", break_lock), contextlib.ExitStack() as stack:
        with _explained(where, 0, len(started)):
            store = stack.enter_context(open_store(layout.root, uri))
            runs = _Runs(store, _experiment(store, layout.study, note), _owner(layout.folder))
            parent_id = runs.bring_parent(outcomes, layout.study, report, note) if started else ""
        for done, outcome in enumerate(started):
            with _explained(where, done, len(started)):
                counted[runs.bring_trial(outcome, layout.study, parent_id)] += 1
            if progress:
                progress(done + 1, len(started))
        with _explained(where, len(started), len(started)):
            if started:
                runs.finish_parent()
            if counted["new"]:
                store.analyse()
    return Collected(**counted, uri=store.uri, experiment_id=runs.experiment_id)


class _Runs:
    """The runs of one experiment, read in one search; each is then brought up to date.

    A run that is up to date costs no request.
    """

    def __init__(self, store: Store, experiment_id: str, user: str) -> None:
        self.experiment_id = experiment_id
        self._client = store.client
        self._user = user
        self._known: dict[str, Run] = {}
        for run in self._search():
            name = run.data.tags.get(TRIAL_TAG) or run.data.tags.get(STUDY_TAG)
            if name in self._known:
                # Whatever made the second one (a proxy that sent a request again): one trial, one
                # run. The search gives the oldest first.
                self._client.delete_run(run.info.run_id)
            elif name is not None:
                self._known[name] = run

    def bring_trial(self, outcome: Outcome, study: str, parent_id: str) -> Change:
        record = trial_record(outcome, study)
        record = replace(record, tags={**record.tags, _PARENT_TAG: parent_id})
        return self._bring(outcome.trial.id, record)[1]

    def _search(self) -> Iterator["Run"]:
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id],
                max_results=1000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return
