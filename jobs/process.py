"""Processes: the variables that a lane is started with, and who tells whether one still lives.

Standard library only; starts nothing.
"""

import os
import pwd
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LANE_ENVIRONMENT: Mapping[str, str] = {
    # A user's own folder named jobs/ or tracking/ must not shadow ours.
    "PYTHONSAFEPATH": "1",
    "PYTHONUNBUFFERED": "1",
    # cuBLAS is deterministic only with a fixed workspace.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # glibc hands large tensors back to the system at every step and faults them in again, which
    # is half the time of a step on a CPU: keep them.
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}


@dataclass(frozen=True)
class Process:
    """A process, told from a later one of the same pid by its start (clock ticks since boot)."""

    host: str
    pid: int
    start: int

    @staticmethod
    def current() -> "Process":
        return Process.of(os.getpid())

    @staticmethod
    def of(pid: int) -> "Process":
        """Return a process of this host that lives, or has died and is not yet awaited."""
        return Process(socket.gethostname(), pid, _start(pid) or 0)

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()

    def lives(self) -> bool:
        """Whether it runs on this host; a process of another host is believed to."""
        return not self.is_here or _start(self.pid) == self.start

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def user_name() -> str:
    """Return whose process this is; a number in a container whose user has no name.

    Asks the system: a variable such as LOGNAME may name anybody.
    """
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _start(pid: int) -> int | None:
    """Return when a living process was started; 0 where the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _alive(pid)
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(fields[18])


def _alive(pid: int) -> int | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it lives and belongs to somebody else
    return 0
