"""Outcomes: one row a trial, derived from the event logs and from nothing else.

Knows no backend: `orchestrator.status` asks whether the job of a running trial still lives.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from jobs import events
from jobs.trial import Trial

State = Literal["waiting", "running", "interrupted", "completed", "diverged", "failed"]

_ENDS: Mapping[str, State] = {
    events.COMPLETED: "completed",
    events.DIVERGED: "diverged",
    events.FAILED: "failed",
    events.INTERRUPTED: "interrupted",
}


@dataclass(frozen=True)
class Point:
    """One evaluation: `samples` seen, `train_seconds` of training alone, UTC `time_ms`."""

    step: int
    epoch: float
    samples: int
    train_seconds: float
    time_ms: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """All that the logs say of one trial.

    `metrics` are the final ones (`test_accuracy` and the like, fractions; a diverged trial keeps
    what was measured), `weights` a digest of the last weights, `started` the payload of the last
    `started` event: digests, chance levels, step counts. `job` is that of the lane that ran it
    last: host, device, packages, submission, pack.
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

    @property
    def has_result(self) -> bool:
        """A result is final: no later attempt undoes it."""
        return self.state in ("completed", "diverged")


def read_outcomes(folder: Path, planned: Iterable[Trial] = ()) -> dict[str, Outcome]:
    """Fold all event logs of `folder` into outcomes by trial id: planned ones first, in order.

    Recorded trials that are not planned follow, oldest first. Labels come from the plan where it
    has the trial (renaming costs nothing). Raises LogError for a damaged log.
    """
    histories = {trial.id: _History(trial) for trial in planned}
    for event, job, log in _in_order(folder):
        if event.trial is None:
            continue
        if event.trial not in histories:
            histories[event.trial] = _History(_recorded(event, log))
        histories[event.trial].add(event, job)
    return {trial_id: history.finish() for trial_id, history in histories.items()}


def _in_order(folder: Path) -> list[tuple[events.Event, Mapping[str, Any], Path]]:
    """Return all events by time, each with what the first line of its log says of the lane.

    Within a log the order is that of its lines, whatever the clock of its host did meanwhile.
    """
    timed = []
    for log in sorted(folder.glob("*.jsonl")):
        now, job = 0, None
        for event in events.read_events(log):
            now, job = max(now, event.time_ms), event.payload if job is None else job
            timed.append((now, event, job, log))
    timed.sort(key=lambda entry: entry[0])  # stable: equal times keep the order of files and lines
    return [(event, job, log) for _, event, job, log in timed]


def _recorded(event: events.Event, log: Path) -> Trial:
    """Return the trial that a log started without being planned."""
    try:
        return Trial.from_json(event.payload["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise events.LogError(f"{log}: trial {event.trial} cannot be read: {error}") from error


class _History:
    """Replays the events of one trial, in the order of its attempts."""

    def __init__(self, trial: Trial) -> None:
        self._outcome = Outcome(trial)
        self._points: dict[int, Point] = {}

    def add(self, event: events.Event, job: Mapping[str, Any]) -> None:
        now, payload = self._outcome, event.payload
        if event.type == events.EVALUATED:
            self._add_point(event)
        elif now.has_result:
            return
        elif event.type == events.STARTED:
            self._outcome = replace(
                now,
                state="running",
                attempts=now.attempts + 1,
                error=None,
                traceback=None,
                started_ms=now.started_ms or event.time_ms,
                ended_ms=None,
                started={key: value for key, value in payload.items() if key != "config"},
                job=job,
            )
        elif event.type in _ENDS:
            begun = now.job is job  # else it failed before it could say `started`
            self._outcome = replace(
                now,
                state=_ENDS[event.type],
                attempts=now.attempts + (not begun),
                started_ms=now.started_ms or event.time_ms,
                job=now.job if begun else job,
                metrics=payload.get("metrics", {}),
                train_seconds=payload.get("train_seconds"),
                peak_memory_mb=payload.get("peak_memory_mb"),
                weights=payload.get("weights"),
                error=payload.get("error"),
                traceback=payload.get("traceback"),
                ended_ms=event.time_ms,
            )

    def _add_point(self, event: events.Event) -> None:
        """Keep the first durable value of every (metric, step); flag a later unequal one."""
        payload = event.payload
        new = Point(
            step=payload["step"],
            epoch=payload["epoch"],
            samples=payload["samples"],
            train_seconds=payload["train_seconds"],
            time_ms=event.time_ms,
            metrics=payload["metrics"],
        )
        old = self._points.get(new.step)
        if old is None:
            self._points[new.step] = new
        else:
            unequal = any(
                old.metrics.get(key, value) != value and not _both_nan(old.metrics[key], value)
                for key, value in new.metrics.items()
            )
            self._points[new.step] = replace(old, metrics={**new.metrics, **old.metrics})
            if unequal:
                self._outcome = replace(self._outcome, nondeterministic=True)

    def finish(self) -> Outcome:
        """Return the outcome, its curve in the order of steps."""
        curve = tuple(self._points[step] for step in sorted(self._points))
        return replace(self._outcome, curve=curve)


def _both_nan(a: float, b: float) -> bool:
    return a != a and b != b  # noqa: PLR0124 - NaN is the value that differs from itself
