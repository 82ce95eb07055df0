"""A lock between processes of one or several hosts: an exclusively created file, never flock.

Standard library only. Broken on the same host alone, and only once its holder is seen dead.
"""

import getpass
import json
import os
import time
from pathlib import Path
from types import TracebackType

from jobs.process import Process


class LockHeld(Exception):  # noqa: N818 - it names a state, not a mistake
    """Somebody else holds the lock; the message says who, since when, and what to do."""


class Lock:
    """Hold `path` for the length of a `with` block.

    Entering raises LockHeld while another process holds it. `break_lock` takes it over whoever
    holds it: for a holder on another host that is known to be gone.
    """

    def __init__(self, path: Path, break_lock: bool = False) -> None:
        self._path = path
        self._break = break_lock

    def __enter__(self) -> None:
        if self._break:
            self._path.unlink(missing_ok=True)
        while not self._create():
            self._remove_if_dead()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._path.unlink(missing_ok=True)

    def _create(self) -> bool:
        """Link a complete record into place: a reader never meets a half-written lock."""
        record = Process.current().to_json()
        record |= {"user": getpass.getuser(), "heartbeat": time.time()}
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        draft.write_text(json.dumps(record))
        try:
            os.link(draft, self._path)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        return True

    def _remove_if_dead(self) -> None:
        try:
            record = json.loads(self._path.read_text())
        except FileNotFoundError:
            return  # released in this moment
        user, since = record.pop("user"), time.time() - record.pop("heartbeat")
        holder = Process(**record)
        if holder.lives():
            raise LockHeld(
                f"{self._path} is held by {user} on {holder.host}, pid {holder.pid}, since "
                f"{since:.0f} s: wait for it, or pass --break-lock if that process is gone"
            )
        self._path.unlink(missing_ok=True)
