"""Outcomes: one record for each trial, derived from the event logs and from nothing else.

Knows no backend: `orchestrator.progress.status` finds out if the job of a running trial still
runs.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.contract import events
from jobs.contract.failures import FailureClass
from jobs.contract.trial import Trial
from jobs.contract.workloads.workload import Workload
from tracking.history import RESULTS, AttemptSummary, History, State
from tracking.logs import LoggedEvent, Point, read_logs, sort_lines

# By folder and trial: the lines that were replayed, and the fields of the outcome.
_known: dict[tuple[Path, str], tuple[Sequence[Sequence[LoggedEvent]], Mapping[str, Any]]] = {}


@dataclass(frozen=True)
class Outcome:
    """One trial according to its logs.

    `metrics` are the final ones (`test_accuracy` and the like, in their own scale; a diverged
    trial keeps what was measured), `weights` a digest of the last weights, `started` the payload
    of the `started` event that counts: digests, chance levels, step counts. `job` is that of the
    lane that the state is of: host, device, packages, submission, pack. `kind` is the class of
    the exception that a trial failed with. `attempt_log` has the `attempts` in order of arrival.
    `layers` is the telemetry, by step, then by parameter, then by measure; empty if it is off.
    `usage` is what was taken of the machine, by step: UTC in ms, and what by name. `rung` is the
    one at which a tuning trial has ended before its budget was spent: it has no final metrics.
    `at_chance` says why a completed trial has learnt nothing; None if it has.
    """

    trial: Trial
    state: State = "waiting"
    attempts: int = 0
    curve: tuple[Point, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    train_seconds: float | None = None
    peak_memory_mb: float | None = None
    weights: str | None = None
    error: str | None = None
    traceback: str | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    nondeterministic: bool = False
    started: Mapping[str, Any] = field(default_factory=dict)
    job: Mapping[str, Any] = field(default_factory=dict)
    kind: str | None = None
    attempt_log: tuple[AttemptSummary, ...] = ()
    layers: Mapping[int, Mapping[str, Mapping[str, float | None]]] = field(default_factory=dict)
    rung: int | None = None
    usage: Mapping[int, tuple[int, Mapping[str, float]]] = field(default_factory=dict)
    at_chance: str | None = None

    @property
    def part(self) -> float:
        """Return the part of its budget that a trial was trained for: 1 if it ended at no rung."""
        budget = self.trial.workload.budget
        return 1.0 if self.rung is None or not budget else self.rung / budget

    @property
    def has_result(self) -> bool:
        """Return True if there is a result: it is final, and no later attempt undoes it."""
        return self.state in RESULTS

    @property
    def is_measured(self) -> bool:
        """Return True if there is something to see: a result, or a metric after step 0."""
        return self.has_result or any(point.step > 0 for point in self.curve)


def curve_position(workload: Workload, point: Point) -> float:
    """Return the place of a point on the curve, in the unit of the workload's budget."""
    return (point.epoch or 0) if workload.unit == "epoch" else point.step


@dataclass(frozen=True)
class Hold:
    """Trials that were left alone, because the first ones of their submission had failed alike.

    `trials` are their ids; `error` is that of one that had failed. A lane has left them alone, or
    none has begun: then `failure` is how the first jobs have ended.
    """

    submission: str
    reason: str
    error: str | None
    trials: tuple[str, ...]
    failure: FailureClass | None = None


def read_outcomes(
    folder: Path,
    planned: Iterable[Trial] = (),
    discarded: Mapping[str, Collection[str]] | None = None,
) -> dict[str, Outcome]:
    """Fold all event logs of `folder` into outcomes by trial id: planned ones first, in order.

    Recorded trials that are not planned follow, oldest first, once a log describes them. Labels
    come from the plan if it has the trial (renaming costs nothing). `discarded` names, by trial
    id, the logs whose events no longer count for that trial. Raises LogError for a damaged log.
    """
    trials = {trial.id: trial for trial in planned}
    by_trial: dict[str, list[Sequence[LoggedEvent]]] = {}
    for log in read_logs(folder):
        for trial_id, lines in log.items():
            if trial_id and lines[0].lane.log not in (discarded or {}).get(trial_id, ()):
                by_trial.setdefault(trial_id, []).append(lines)
    starts = [_find_start(logs) for i, logs in by_trial.items() if i not in trials]
    for line in sort_lines(start for start in starts if start is not None):
        trial = _read_trial(line)
        trials[trial.id] = trial
    return {
        i: Outcome(trial, **_replay(folder, i, by_trial.get(i, []))) for i, trial in trials.items()
    }


def _replay(
    folder: Path, trial_id: str, logs: Sequence[Sequence[LoggedEvent]]
) -> Mapping[str, Any]:
    """Replay the events of a trial, unless they are the same as at the last call."""
    known = _known.get((folder, trial_id))
    if known is not None and list(map(id, known[0])) == list(map(id, logs)):
        return known[1]
    history = History()
    for line in sort_lines(line for lines in logs for line in lines):
        history.add(line.event, line.lane)
    fields = history.fields()
    _known[folder, trial_id] = logs, fields
    return fields


def read_holds(folder: Path) -> list[Hold]:
    """Return what the lanes of a study have held, oldest first. Raises LogError as above."""
    of_lanes = sort_lines(line for log in read_logs(folder) for line in log.get(None, ()))
    return [
        Hold(
            submission=str(line.lane.job.get("submission", "")),
            reason=line.event.payload["reason"],
            error=line.event.payload.get("error"),
            trials=tuple(line.event.payload.get("trials", ())),
        )
        for line in of_lanes
        if isinstance(line.event, events.Event) and line.event.type == events.HELD
    ]


def _find_start(logs: Sequence[Sequence[LoggedEvent]]) -> LoggedEvent | None:
    """Return the first line that describes a trial, by which one that was not planned is known.

    None if there is none: a process may die between a trial's turn and its start.
    """
    starts = (
        line
        for lines in logs
        for line in lines
        if isinstance(line.event, events.Event)
        and (line.event.type == events.STARTED or "config" in line.event.payload)
    )
    return next(iter(sort_lines(starts)), None)


def _read_trial(line: LoggedEvent) -> Trial:
    """Return the trial that a log started without being planned."""
    assert isinstance(line.event, events.Event)
    try:
        return Trial.from_json(line.event.payload["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise events.LogError(
            f"{line.lane.path}: trial {line.event.trial} cannot be read: {error}"
        ) from error
