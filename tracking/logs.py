"""The event logs of a study, line by line and by trial. Knows lanes; replays nothing.

Keeps what it has parsed: logs are only appended to, and a watcher reads them every second. Nearly
all that it keeps are evaluations, millions in a large study, hence their small records.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from jobs.contract import events

_Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class LaneLog:
    """The log of one lane; `job` is its first line: host, device, packages, submission."""

    path: Path
    job: Mapping[str, Any]

    @property
    def log(self) -> str:
        return self.path.name


@dataclass(frozen=True, slots=True)
class Point:
    """One evaluation: `samples` seen, `train_seconds` of training alone, UTC `time_ms`.

    Of a step that two attempts have taken the first counts, whose `train_seconds` may exceed those
    of the next step. The user's own training logs no `epoch` and no `samples`.
    """

    step: int
    epoch: float | None
    samples: int | None
    train_seconds: float
    time_ms: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One event, evaluations as points; `order_ms` is its time, but never falls within a log."""

    order_ms: int
    event: events.Event | Point
    lane: LaneLog


# The lines of one log by trial; those of the lane itself are under None.
Log = Mapping[str | None, Sequence[LoggedEvent]]

# By path: the stamp of a log when it was parsed, and its content.
_parsed: dict[Path, tuple[_Stamp, Log]] = {}


def read_logs(folder: Path) -> list[Log]:
    """Return the content of every log of `folder`; raises LogError for a damaged one.

    A log that has not changed since the last call is the same object, and so are its parts.
    """
    return [_read(path) for path in sorted(folder.glob("*.jsonl"))]


def sort_lines(lines: Iterable[LoggedEvent]) -> list[LoggedEvent]:
    """Sort by time; equal times keep the order of files and lines.

    Within a log the order is that of its lines, whatever the clock of its host did meanwhile.
    """
    return sorted(lines, key=attrgetter("order_ms"))


def _read(path: Path) -> Log:
    stat = path.stat()
    # The stamp is older than what is read after it: at worst the log is parsed once more.
    stamp = stat.st_ino, stat.st_size, stat.st_mtime_ns
    known = _parsed.get(path)
    if known is None or known[0] != stamp:
        known = _parsed[path] = stamp, _parse(path)
    return known[1]


def _parse(path: Path) -> Log:
    now, lane = 0, None
    log: dict[str | None, list[LoggedEvent]] = {}
    for event in events.read_events(path):
        lane = lane or LaneLog(path, event.payload)
        now = max(now, event.time_ms)
        logged = _point(path, event) if event.type == events.EVALUATED else event
        log.setdefault(event.trial, []).append(LoggedEvent(now, logged, lane))
    return log


def _point(path: Path, event: events.Event) -> Point:
    """Return an evaluation as a point; raises LogError if it lacks a required value."""
    payload = event.payload
    try:
        return Point(
            step=payload["step"],
            epoch=payload.get("epoch"),
            samples=payload.get("samples"),
            train_seconds=payload["train_seconds"],
            time_ms=event.time_ms,
            metrics={sys.intern(name): value for name, value in payload["metrics"].items()},
        )
    except KeyError as error:
        raise events.LogError(f"{path}: evaluation {event.seq} has no {error}") from error
