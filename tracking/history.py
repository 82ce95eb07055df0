"""The history of one trial: its events replayed into a state, attempt by attempt.

Reads no log. An attempt that was fenced out by a newer one changes nothing any more, unless it has
a result.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from jobs.contract import events
from tracking.logs import LaneLog, Point

State = Literal["waiting", "running", "interrupted", "completed", "diverged", "failed"]

_ENDS: Mapping[str, State] = {
    events.COMPLETED: "completed",
    events.DIVERGED: "diverged",
    events.FAILED: "failed",
    events.INTERRUPTED: "interrupted",
}
RESULTS = ("completed", "diverged")  # the final states: no later attempt changes them

# The fields of an outcome that the event of its end has by the same names.
_AS_LOGGED = ("error", "train_seconds", "peak_memory_mb", "weights", "traceback", "rung")


@dataclass(frozen=True)
class AttemptSummary:
    """One attempt at a trial, by the name of its log; times are UTC in ms.

    `end` is a state; it is None if nothing more was logged before a newer attempt began. Of two
    attempts the newer one is greater in (`generation`, `token`). `first` is the first step that it
    logged a metric of, `step` the last one known, `seen_ms` the time of its last event;
    `kind` and `error` are those of an attempt that ended without a result.
    """

    log: str
    host: str | None
    device: str | None
    code: str | None
    started_ms: int
    ended_ms: int | None
    end: State | None
    generation: int
    token: str
    step: int | None
    kind: str | None = None
    error: str | None = None
    first: int | None = None
    seen_ms: int = 0


class _Attempt:
    """An attempt while it is replayed."""

    def __init__(self, event: events.Event, lane: LaneLog, generation: int) -> None:
        payload = event.payload
        self.lane = lane
        self.started_ms = event.time_ms
        self.order = payload.get("generation", generation), payload.get("token", "")
        start = payload if event.type == events.STARTED else {}
        self.started = {key: value for key, value in start.items() if key != "config"}
        self.end: events.Event | None = None
        self.step: int | None = None
        self.first: int | None = None
        self.seen_ms = event.time_ms

    def summarise(self, is_newest: bool) -> AttemptSummary:
        end = self.end
        return AttemptSummary(
            **{key: self.lane.job.get(key) for key in ("host", "device", "code")},
            log=self.lane.log,
            started_ms=self.started_ms,
            ended_ms=None if end is None else end.time_ms,
            end=("running" if is_newest else None) if end is None else _state(end),
            generation=self.order[0],
            token=self.order[1],
            step=self.step,
            kind=None if end is None else _kind(end),
            error=None if end is None or _at_chance(end) else end.payload.get("error"),
            first=self.first,
            seen_ms=self.seen_ms,
        )


class History:
    """Replays the events of one trial, which come by time."""

    def __init__(self) -> None:
        self._points: dict[int, Point] = {}
        self._unequal = False
        self._layers: dict[int, Mapping[str, Any]] = {}  # the first logged ones of each step
        self._usage: dict[int, tuple[int, Mapping[str, float]]] = {}
        self._attempts: list[_Attempt] = []
        self._starts = 0
        self._by_log: dict[str, _Attempt] = {}
        self._newest: _Attempt | None = None  # of those that have started
        self._current: _Attempt | None = None  # the one that the state is of
        self._has_result = False

    def add(self, event: events.Event | Point, lane: LaneLog) -> None:
        """Take the next event."""
        if lane.log in self._by_log:
            self._by_log[lane.log].seen_ms = event.time_ms
        if isinstance(event, Point):
            self._add_point(event)
            if lane.log in self._by_log:
                attempt = self._by_log[lane.log]
                attempt.step = event.step
                attempt.first = event.step if attempt.first is None else attempt.first
        elif event.type == events.TELEMETRY:
            self._layers.setdefault(event.payload["step"], event.payload["layers"])
        elif event.type == events.USAGE:
            self._usage.setdefault(
                event.payload["step"], (event.time_ms, event.payload["metrics"])
            )
        elif event.type == events.STARTED:
            self._start(event, lane)
        elif event.type in _ENDS:
            self._end(event, lane)

    def fields(self) -> dict[str, Any]:
        """Return the fields of an outcome, all but its trial."""
        attempt, attempts = self._current, self._attempts
        fields: dict[str, Any] = {
            "curve": tuple(self._points[step] for step in sorted(self._points)),
            "nondeterministic": self._unequal,
            "layers": {step: self._layers[step] for step in sorted(self._layers)},
            "usage": {step: self._usage[step] for step in sorted(self._usage)},
        }
        if attempt is None:
            return fields
        fields |= {
            "state": "running",
            "attempts": len(attempts),
            "started_ms": attempts[0].started_ms,
            "started": attempt.started,
            "job": attempt.lane.job,
            "attempt_log": tuple(
                one.summarise(one is attempt and not self._has_result) for one in attempts
            ),
        }
        if (end := attempt.end) is not None:
            fields |= {"state": _state(end), "ended_ms": end.time_ms, "kind": _kind(end)}
            fields |= {"metrics": end.payload.get("metrics", {})}
            fields |= {name: end.payload.get(name) for name in _AS_LOGGED}
            if at_chance := _at_chance(end):
                fields |= {"at_chance": at_chance, "error": None}
        return fields

    def _start(self, event: events.Event, lane: LaneLog) -> None:
        """Begin an attempt; if it comes after a newer one, it changes no state."""
        if self._has_result:
            return
        attempt = self._begin(event, lane)
        if self._newest is None or attempt.order >= self._newest.order:
            self._newest = self._current = attempt

    def _end(self, event: events.Event, lane: LaneLog) -> None:
        """End an attempt: the first result counts, whichever attempt has it, else the newest."""
        attempt = self._by_log.get(lane.log)
        if self._has_result:
            if attempt is not None and attempt.end is None:
                attempt.end = event
            return
        # An attempt that failed before its start was logged is superseded by none: it counts.
        counts = attempt is None or attempt.order >= (self._newest or attempt).order
        attempt = attempt or self._begin(event, lane)
        attempt.end = event
        attempt.step = event.payload.get("step", attempt.step)
        self._has_result = _ENDS[event.type] in RESULTS
        if counts or self._has_result:
            self._current = attempt

    def _begin(self, event: events.Event, lane: LaneLog) -> _Attempt:
        # Logs of an early version know no generations: the order of arrival will do.
        attempt = _Attempt(event, lane, generation=self._starts)
        self._starts += event.type == events.STARTED
        self._attempts.append(attempt)
        self._by_log[lane.log] = attempt
        return attempt

    def _add_point(self, new: Point) -> None:
        """Keep the first durable value of every (metric, step); flag a later unequal one."""
        old = self._points.setdefault(new.step, new)
        if old is new:
            return
        for key in old.metrics.keys() & new.metrics.keys():
            first, second = old.metrics[key], new.metrics[key]
            self._unequal |= first != second and not (math.isnan(first) and math.isnan(second))
        if not new.metrics.keys() <= old.metrics.keys():
            self._points[new.step] = replace(old, metrics={**new.metrics, **old.metrics})


def _at_chance(end: events.Event) -> str | None:
    return events.find_at_chance(end.type, end.payload)


def _state(end: events.Event) -> State:
    """Return the state that an event ends a trial in: at chance, it is completed."""
    return "completed" if _at_chance(end) else _ENDS[end.type]


def _kind(end: events.Event) -> str | None:
    """Return the class of the exception that an attempt ended with, if it failed by one."""
    kind: str | None = end.payload.get("kind")
    if end.type == events.FAILED and not kind:
        # Logs of an early version have the class in the error alone.
        kind = (end.payload.get("error") or "").partition(":")[0]
    return kind or None
