"""A lock between processes of one or several hosts: an exclusively created file, never flock.

A process breaks it on the same host alone, and only once it sees the holder dead: a `Process`
differs from a later one of the same pid. Starts nothing but the heartbeat.
"""

import json
import os
import pwd
import socket
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.contract.atomic_write import open_atomically
from thermolion.errors import OperationError

# Not flufl.lock, which works on NFS as well: it breaks every lock whose lifetime has passed by the
# clock, so also that of a host whose clock differs or of a process that was stopped for a while,
# and of two that break one lock the second may remove what a third has just taken. A study would
# then be sent twice. Nor does it know since when, and by which user, a lock is held.
HEARTBEAT_S = 15
_BREAKING_S = 10  # a process that removes the lock of a dead one takes milliseconds


class LockHeld(OperationError):  # noqa: N818 - it names a state, not a mistake
    """Somebody else holds the lock; the message says who, since when, and what to do."""


@dataclass(frozen=True)
class Process:
    """A process; its `start` (clock ticks since boot) tells it from later ones of the same pid."""

    host: str
    pid: int
    start: int

    @staticmethod
    def current() -> "Process":
        return Process.of(os.getpid())

    @staticmethod
    def of(pid: int) -> "Process":
        """Return the process of a pid on this host, which runs or is a zombie."""
        return Process(socket.gethostname(), pid, _start(pid) or 0)

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()

    def lives(self) -> bool:
        """Return True if it runs; a process of another host is taken to run."""
        return not self.is_here or _start(self.pid) == self.start

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def user_name() -> str:
    """Return the user of this process; a number in a container whose user has no name.

    Asks the system: a variable such as LOGNAME may name anybody.
    """
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


class Lock:
    """Hold `path` for the length of a `with` block; its modification time is the heartbeat.

    Entering raises LockHeld while another process holds it, and OSError if the folder cannot be
    written. `break_lock` takes it over whoever holds it: for a holder on another host that is
    known to be gone. Entering waits up to `wait_s` seconds for a held lock.
    """

    def __init__(self, path: Path, break_lock: bool = False, wait_s: float = 0) -> None:
        self._path = path
        self._break = break_lock
        self._wait_s = wait_s
        self._ended = threading.Event()
        self._file = -1

    def __enter__(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._break:
            for left in (self._path, *self._path.parent.glob(f"{self._path.name}.*.breaking")):
                left.unlink(missing_ok=True)
        deadline = time.monotonic() + self._wait_s
        try:
            while not self._create():
                try:
                    self._remove_if_abandoned()
                except LockHeld:
                    if time.monotonic() >= deadline:
                        raise
                    time.sleep(0.2)
        except BaseException:  # a signal, perhaps: nobody would release it
            self._release()
            raise
        self._ended.clear()
        self._heartbeats = threading.Thread(target=self._send_heartbeats, daemon=True)
        self._heartbeats.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._heartbeats.join()  # or it would touch what the file descriptor stands for next
        self._release()

    def _release(self) -> None:
        if self._file < 0:
            return
        if self._is_ours():
            self._path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = -1

    def _create(self) -> bool:
        record = _Holder(Process.current(), user_name(), time.time()).to_text()
        try:
            with open_atomically(self._path, replace=False) as draft:
                draft.write(record.encode())
                self._file = os.dup(draft.fileno())
        except FileExistsError:
            os.close(self._file)
            self._file = -1
            return False
        return True

    def _send_heartbeats(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            now = time.time()  # of this host: the server of a network mount may differ
            try:
                os.utime(self._file, (now, now))
            except OSError:
                return  # it has just been released; a missing heartbeat harms nobody

    def _is_ours(self) -> bool:
        """Return True if nobody has broken the lock and taken it since."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return False

    def _remove_if_abandoned(self) -> None:
        holder = self._read_holder()
        if holder is None:
            return
        if holder.process.lives():
            raise LockHeld(
                f"{self._path} is held by {holder.user} on {holder.process.host}, pid "
                f"{holder.process.pid}, for {_format_duration(time.time() - holder.since)}"
                f"{self._describe_heartbeat()}: wait for it, or pass --break-lock if that process "
                "is gone"
            )
        # Only one process may remove this very record. Without this, a second one that has read
        # it as well would remove the lock that the first has taken in the meantime. If the one
        # that removes it dies, the next one removes what it has left in the same way.
        guard = self._path.with_name(f"{self._path.name}.{holder.token}.breaking")
        with Lock(guard, wait_s=_BREAKING_S):
            if self._read_holder() == holder:
                self._path.unlink(missing_ok=True)

    def _read_holder(self) -> "_Holder | None":
        """Return who has the lock, None if it has just been released."""
        try:
            return _Holder.from_text(self._path.read_text())
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise LockHeld(
                f"{self._path} does not say who holds it ({error!r}): pass --break-lock if nobody "
                "works on this study"
            ) from error

    def _describe_heartbeat(self) -> str:
        try:
            silence = time.time() - self._path.stat().st_mtime
        except FileNotFoundError:
            return ""
        return f", last sign of life {_format_duration(silence)} ago"


@dataclass(frozen=True)
class _Holder:
    """What the file says of its holder; `since` is in seconds since the epoch."""

    process: Process
    user: str
    since: float

    @property
    def token(self) -> str:
        return f"{self.process.pid}-{self.process.start}-{int(1000 * self.since)}"

    def to_text(self) -> str:
        return json.dumps(self.process.to_json() | {"user": self.user, "since": self.since})

    @staticmethod
    def from_text(text: str) -> "_Holder":
        record = json.loads(text)
        process = Process(record["host"], record["pid"], record["start"])
        return _Holder(process, record["user"], record["since"])


def _format_duration(seconds: float) -> str:
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _start(pid: int) -> int | None:
    """Return when a running process was started; 0 if the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends between open and read
        return None if Path("/proc/self/stat").exists() else _start_unknown(pid)
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(fields[18])


def _start_unknown(pid: int) -> int | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it lives and belongs to somebody else
    return 0
