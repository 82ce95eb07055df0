"""The event log: what a lane appends while it runs trials, and how anybody reads it.

One writer a file, opened exclusively; state is derived by readers, never stored.
Standard library only.

Payloads (readers ignore fields that they do not know):

opened       submission, pack, lane, host, pid, device, packages, code (digest of our sources and
             the user's), thermolion_code (of ours alone)
started      token, generation, config (`Trial.to_json`); of images also steps, steps_per_epoch,
             images (by split), chance (by metric), digests (data, split, init, order), parameters
evaluated    step, train_seconds, metrics; of images also epoch, samples
completed    step, train_seconds, metrics, weights (sha256 of the final ones), peak_memory_mb
diverged     the same, and error: why
failed       error, kind (of the exception), traceback, config
interrupted  step, error: why; kind, where a rank has died
held         trials (ids that the lane left alone), reason, error, traceback (of an example)
closed       -
"""

import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = 1
FREE_BYTES_TO_START = 50 * 2**20

# A lane's own events (no trial), then a trial's.
OPENED, HELD, CLOSED = "opened", "held", "closed"
STARTED, EVALUATED = "started", "evaluated"
COMPLETED, DIVERGED, FAILED, INTERRUPTED = "completed", "diverged", "failed", "interrupted"


class LogError(Exception):
    """An event log that cannot be written or read, with what to do about it."""


@dataclass(frozen=True)
class Event:
    """One line of a log; `time_ms` is UTC, durations are in the payload (monotonic clock)."""

    type: str
    trial: str | None
    attempt: int
    seq: int
    time_ms: int
    payload: Mapping[str, Any]


class EventLog:
    """The writing end. Every append is on disk when it returns.

    A line is written whole or not at all: after a failed write (full disk) the file is cut back
    to its last whole line, so that readers meet a torn line only where the writer was killed.
    """

    def __init__(self, path: Path, attempt: int, free_bytes: int = FREE_BYTES_TO_START) -> None:
        """Create the file.

        Raises FileExistsError where another writer has it, LogError where the disk is too full.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        check_free_space(path.parent, free_bytes)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        self.path = path
        self.attempt = attempt
        self._seq = 0
        self._length = 0

    def append(self, event_type: str, trial: str | None = None, **payload: Any) -> None:
        """Append one event durably; raises LogError if it fails twice."""
        line = {
            "v": VERSION,
            "type": event_type,
            "trial": trial,
            "attempt": self.attempt,
            "seq": self._seq,
            "time_ms": time.time_ns() // 1_000_000,
        } | _finite(payload)
        data = (json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n").encode()
        try:
            self._write(data)
        except OSError:
            time.sleep(1)  # a quota or a full disk is often a matter of a moment
            try:
                self._write(data)
            except OSError as error:
                raise LogError(f"cannot append to {self.path}: {error}") from error
        self._seq += 1

    def close(self) -> None:
        os.close(self._file)

    def _write(self, data: bytes) -> None:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._length)
            raise
        self._length += len(data)


def check_free_space(folder: Path, needed: int = FREE_BYTES_TO_START) -> None:
    """Raise LogError if the file system of `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise LogError(
            f"{folder} has {free / 2**20:.0f} MiB free, {needed / 2**20:.0f} MiB are needed to "
            "start: free some space, then submit again"
        )


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of one log, oldest first.

    A torn last line is left out: its writer was killed in the middle of it, or is in it now.
    Raises LogError for a damaged line elsewhere and for a log of a newer major version.
    """
    data = path.read_bytes()
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            record = json.loads(line)
            if record.pop("v") > VERSION:
                raise LogError(
                    f"{path} is of a newer version than {VERSION}, the last that this thermolion "
                    "reads: upgrade thermolion where you read the study"
                )
            event = Event(
                type=record.pop("type"),
                trial=record.pop("trial"),
                attempt=record.pop("attempt"),
                seq=record.pop("seq"),
                time_ms=record.pop("time_ms"),
                payload=_floats(record),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LogError(f"{path}, line {number} is damaged: {error!r}") from error
        yield event


def next_attempt(folder: Path, submission: str, pack: int) -> int:
    """Return the first attempt number that no log of the pack has taken yet."""
    taken = [int(log.stem.split("-")[-2]) for log in folder.glob(f"{submission}-{pack}-*-*.jsonl")]
    return max(taken, default=-1) + 1


# JSON has no NaN and no infinity; these strings stand for them, in numeric fields alone.
_SPELLED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _floats(record: dict[str, Any]) -> dict[str, Any]:
    """Undo `_finite` where numbers are expected: in the metrics of an event."""
    if "metrics" in record:
        record["metrics"] = {
            key: _SPELLED[value] if isinstance(value, str) else value
            for key, value in record["metrics"].items()
        }
    return record
