"""The runs of one study in MLflow, each brought up to what its record says.

Knows no outcomes and decides nothing about how a run looks (`tracking.browse` does).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tracking.browse import (
    FINGERPRINT_TAG,
    NOTE_TAG,
    STATE_TAG,
    TRIAL_TAG,
    MetricPoint,
    RunRecord,
)
from tracking.summary import STUDY_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_REPORT_TAG = "thermolion.report"
_PARENT_TAG = "mlflow.parentRunId"
_MAX_BATCH_PARAMS, _MAX_BATCH = 100, 1000  # what MLflow takes in one request

_Identity = tuple[str, int, int, str]  # of a metric point
Change = Literal["new", "updated", "unchanged"]


class Runs:
    """The runs of one experiment, read in one search; each is then brought up to date.

    A run that is up to date costs no request.
    """

    def __init__(self, client: "MlflowClient", experiment_id: str, user: str) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._user = user
        self._known: dict[str, Run] = {}
        for run in list(self._search()):  # whole first: what we delete would shift its pages
            name = run.data.tags.get(TRIAL_TAG) or run.data.tags.get(STUDY_TAG)
            if name in self._known:
                # Whatever made the second one (a proxy that sent a request again): one trial, one
                # run.
                self._client.delete_run(run.info.run_id)
            elif name is not None:
                self._known[name] = run

    def bring_parent(self, record: RunRecord, report: Path | None) -> str:
        """Bring the run of the study up to date, files of the report included; return its id."""
        study = record.tags[STUDY_TAG]
        run_id, _ = self._bring(study, record, {})
        if report is not None:
            wanted = _digest(report)
            known = self._known.get(study)
            kept = known is not None and known.info.run_id == run_id
            if known is None or not kept or known.data.tags.get(_REPORT_TAG) != wanted:
                self._client.log_artifacts(run_id, str(report))
                self._client.set_tag(run_id, _REPORT_TAG, wanted)
        return run_id

    def bring_trial(self, record: RunRecord, parent_id: str) -> Change:
        """Bring the run of a trial up to date."""
        return self._bring(record.tags[TRIAL_TAG], record, {_PARENT_TAG: parent_id})[1]

    def _search(self) -> Iterator["Run"]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                max_results=1000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _bring(self, name: str, record: RunRecord, more: dict[str, str]) -> tuple[str, Change]:
        """`more` are tags that differ between stores: they take no part in the fingerprint."""
        run = self._known.get(name)
        if run is None:
            return self._create(record, more), "new"
        if _is_current(run, record, more):
            return run.info.run_id, "unchanged"
        there = self._points(run, record)
        wanted = {_identity(point): point for point in record.metrics}
        if there <= wanted.keys() and _params_agree(run, record):
            missing = [point for one, point in wanted.items() if one not in there]
            self._extend(run, record, missing, more)
            return run.info.run_id, "updated"
        # MLflow takes back no point and changes no param: this run can never become the record.
        self._client.delete_run(run.info.run_id)
        return self._create(record, more), "updated"

    def _create(self, record: RunRecord, more: dict[str, str]) -> str:
        tags = {**record.tags, **more, "mlflow.user": self._user}
        run = self._client.create_run(
            self._experiment_id, start_time=record.start_ms, tags=tags, run_name=record.name
        )
        run_id = str(run.info.run_id)
        self._send(run_id, record.metrics, record.params, {FINGERPRINT_TAG: record.fingerprint})
        self._set_status(run, record)
        return run_id

    def _extend(
        self, run: "Run", record: RunRecord, missing: list[MetricPoint], more: dict[str, str]
    ) -> None:
        tags = run.data.tags
        params = {key: v for key, v in record.params.items() if key not in run.data.params}
        for key in _outdated(tags, record):
            self._client.delete_tag(run.info.run_id, key)
        wanted = {**record.tags, **more, FINGERPRINT_TAG: record.fingerprint}
        changed = {key: value for key, value in wanted.items() if tags.get(key) != value}
        self._send(run.info.run_id, missing, params, changed)
        self._set_status(run, record)

    def _send(
        self,
        run_id: str,
        points: Sequence[MetricPoint],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        """Send everything; the tags, with the fingerprint that vouches for it, arrive last."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(one.key, one.value, one.time_ms, one.step) for one in points]
        asked = [Param(key, value) for key, value in params.items()]
        said = [RunTag(key, value) for key, value in tags.items()]
        if len(asked) > _MAX_BATCH_PARAMS or len(metrics) + len(asked) + len(said) > _MAX_BATCH:
            self._client.log_batch(run_id, metrics=metrics, params=asked)
            metrics, asked = [], []
        self._client.log_batch(run_id, metrics=metrics, params=asked, tags=said)

    def _set_status(self, run: "Run", record: RunRecord) -> None:
        """Set how the run stands. A run that goes on keeps an earlier end until its next one."""
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


def _is_current(run: "Run", record: RunRecord, more: Mapping[str, str]) -> bool:
    tags = run.data.tags
    return (
        tags.get(FINGERPRINT_TAG) == record.fingerprint
        and all(tags.get(key) == value for key, value in more.items())
        and run.info.status == record.status
        and record.end_ms in (None, run.info.end_time)
    )


def _params_agree(run: "Run", record: RunRecord) -> bool:
    return all(run.data.params.get(key, value) == value for key, value in record.params.items())


def _outdated(tags: Mapping[str, str], record: RunRecord) -> list[str]:
    """Name the tags that an earlier record set and this one lacks; a user's own stay."""
    ours = [key for key in tags if key.startswith("thermolion.")]
    if tags.get(NOTE_TAG, "").startswith(f"**{tags.get(STATE_TAG)}**"):
        ours.append(NOTE_TAG)
    return [key for key in ours if key not in {*record.tags, FINGERPRINT_TAG, _REPORT_TAG}]


def _identity(point: MetricPoint) -> _Identity:
    return point.key, point.step, point.time_ms, repr(point.value)  # NaN differs from itself


def _digest(folder: Path) -> str:
    """Return 16 hex digits over the names and contents of all files."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, data = str(path.relative_to(folder)), path.read_bytes()
        whole.update(f"{name}\0{len(data)}\0".encode() + data)
    return whole.hexdigest()[:16]
