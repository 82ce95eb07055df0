"""The event log: what a lane appends while it runs trials, and how it is read.

One writer a file, opened exclusively; readers derive the state, it is never stored.

Payloads (readers ignore fields that they do not know):

opened       submission, pack, lane, host, pid, device, packages, code (digest of our sources and
             the user's), thermolion_code (of ours alone); of a GPU, device_memory_mb (all it has)
started      token, generation, config (`Trial.to_json`); of images also steps, steps_per_epoch,
             images (by split), chance (by metric), digests (data, split, init, order), parameters
evaluated    step, train_seconds, metrics; of images also epoch, samples, and how many are scored
             at a time (scoring_batch) unless these are 128
measured     rivals (whom it competes with), rung, value, goes_on; only if a trial has rungs
telemetry    step, layers (by parameter: gate, gas, alignment, temperature, bitrate); only if
             the workload asks for it and the optimizer is ThermoLion
usage        step, metrics (of the machine); only if the sweep asks for it
completed    step, train_seconds, metrics, weights (sha256 of the final ones), peak_memory_mb; of
             a tuning trial that ended there, rung; of images that were not learnt, at_chance: why
diverged     step, train_seconds, metrics, weights, peak_memory_mb, and error: why
failed       error, kind (of the exception), traceback, config
interrupted  step, error: why; kind, if a rank has died
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

from thermolion.errors import OperationError

VERSION = 1
FREE_BYTES_TO_START = 50 * 2**20
_SYNC_SHARE = 0.02  # of the time between two syncs that the next one may take

# A lane's own events (no trial), then a trial's.
OPENED, HELD, CLOSED = "opened", "held", "closed"
STARTED, EVALUATED, TELEMETRY = "started", "evaluated", "telemetry"
MEASURED, USAGE = "measured", "usage"
COMPLETED, DIVERGED, FAILED, INTERRUPTED = "completed", "diverged", "failed", "interrupted"
_FREQUENT = (EVALUATED, TELEMETRY, USAGE)
_FIXED = ("type", "trial", "attempt", "seq", "time_ms")  # what every line has, beside `v`


def find_at_chance(event_type: str, payload: Mapping[str, Any]) -> str | None:
    """Return why a trial is at chance at its end, by the event of that; None if it is not.

    Early versions called such a trial diverged, with a message of this form.
    """
    if event_type == DIVERGED and " at the end, chance is " in payload.get("error", ""):
        return str(payload["error"])
    why: str | None = payload.get("at_chance")
    return why if event_type == COMPLETED else None


class LogError(OperationError):
    """An event log that cannot be written or read, with what to do about it."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a log; `time_ms` is UTC, durations are in the payload (monotonic clock)."""

    type: str
    trial: str | None
    attempt: int
    seq: int
    time_ms: int
    payload: Mapping[str, Any]


class EventLog:
    """The writer of a log. An event is on disk when `append` returns, except frequent evaluations.

    Evaluations that come faster than they can be synced are written without a sync (a killed
    process loses none) and synced with a later event; `sync` does so before a checkpoint replaces
    an older one.

    A line is written whole or not at all: after a failed write (full disk) the file is truncated
    to its last whole line, so that readers find a torn line only if the writer was killed.
    """

    def __init__(self, path: Path, attempt: int, free_bytes: int = FREE_BYTES_TO_START) -> None:
        """Create the file.

        Raises FileExistsError if another writer has it, LogError if the disk is too full or
        cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            check_free_space(path.parent, free_bytes)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        except FileExistsError:
            raise
        except OSError as error:
            raise LogError(f"cannot create {path}: {error}") from error
        self.path = path
        self.attempt = attempt
        self._seq = 0
        self._written = self._synced = 0  # bytes of whole lines
        self._unsynced = b""
        self._synced_at, self._sync_took = -math.inf, 0.0

    def append(self, event_type: str, trial: str | None = None, **payload: Any) -> None:
        """Append one event; raises LogError if it fails twice."""
        line = {
            "v": VERSION,
            "type": event_type,
            "trial": trial,
            "attempt": self.attempt,
            "seq": self._seq,
            "time_ms": time.time_ns() // 1_000_000,
        } | _encode_floats(payload)
        data = (json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n").encode()
        self._unsynced += data
        self._try_twice(event_type not in _FREQUENT or self._is_sync_due())
        self._seq += 1

    def sync(self) -> None:
        """Sync what has been written; raises LogError if it fails twice."""
        if self._unsynced:
            self._try_twice(durably=True)

    def close(self) -> None:
        self.sync()
        os.close(self._file)

    def _is_sync_due(self) -> bool:
        return self._sync_took <= _SYNC_SHARE * (time.monotonic() - self._synced_at)

    def _try_twice(self, durably: bool) -> None:
        try:
            self._write(durably)
        except OSError:
            time.sleep(1)  # a quota or a full disk often lasts only a moment
            try:
                self._write(durably)
            except OSError as error:
                raise LogError(f"cannot append to {self.path}: {error}") from error

    def _write(self, durably: bool) -> None:
        """Write the lines that are not in the file yet, whole or not at all; raises OSError."""
        try:
            rest = memoryview(self._unsynced)[self._written - self._synced :]
            while rest:
                rest = rest[os.write(self._file, rest) :]
            self._written = self._synced + len(self._unsynced)
            if durably:
                self._sync()
        except OSError:
            os.ftruncate(self._file, self._written)
            raise

    def _sync(self) -> None:
        begin = time.monotonic()
        try:
            os.fsync(self._file)
        except OSError:
            self._written = self._synced  # after a failed sync the rest of the file is unknown
            raise
        self._synced_at = time.monotonic()
        self._sync_took = self._synced_at - begin
        self._synced, self._unsynced = self._written, b""


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

    A torn last line is skipped: its writer was killed while writing it, or is writing it now.
    Raises LogError for a damaged line elsewhere and for a log of a newer major version.
    """
    data = path.read_bytes()
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            record = json.loads(line)
            if record.pop("v") > VERSION:
                raise LogError(
                    f"{path} is of a newer version than {VERSION}: upgrade thermolion to read it"
                )
            fixed = {name: record.pop(name) for name in _FIXED}
            event = Event(**fixed, payload=_decode_floats(record))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LogError(f"{path}, line {number} is damaged: {error!r}") from error
        yield event


def next_attempt(folder: Path, submission: str, pack: int) -> int:
    """Return the first attempt number that no log of the pack has."""
    taken = [int(log.stem.split("-")[-2]) for log in folder.glob(f"{submission}-{pack}-*-*.jsonl")]
    return max(taken, default=-1) + 1


# JSON has no NaN and no infinity; these strings stand for them, in numeric fields alone.
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _encode_floats(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _encode_floats(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode_floats(item) for item in value]
    return value


def _decode_floats(record: dict[str, Any]) -> dict[str, Any]:
    """Undo `_encode_floats` in the fields that hold numbers: metrics and layers."""
    if "metrics" in record:
        record["metrics"] = _numbers(record["metrics"])
    if "layers" in record:
        record["layers"] = {name: _numbers(layer) for name, layer in record["layers"].items()}
    return record


def _numbers(spelled: Mapping[str, Any]) -> dict[str, Any]:
    return {k: NOT_FINITE[v] if isinstance(v, str) else v for k, v in spelled.items()}
