"""Long-lived processes of one folder: each is started once and stopped by its own record.

A record says host, pid and start of a process, so that a pid which has been given away since is
never signalled. Knows no SLURM.
"""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.contract.atomic_write import write_atomically
from jobs.contract.lock import Process
from slurm.slurm_errors import SlurmError
from slurm.waiting import poll

_STOP_S = 15.0  # then it is killed
_LOOK_S = 0.05
# Where distributions keep daemons; an ordinary user has it on no path.
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class DaemonError(SlurmError):
    """A daemon that did not come up, or is not installed; the message quotes its log."""


@dataclass(frozen=True)
class Daemons:
    """The processes of a folder; `records` has a file each, `logs` what they print."""

    records: Path
    logs: Path

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        """Start a daemon in a session of its own, unless it lives."""
        if self.lives(name):
            return
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # Not subprocess.Popen, which warns if its child is meant to outlive it.
        pid = os.posix_spawn(
            command[0],
            list(command),
            os.environ | (environment or {}),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.logs / f"{name}.out"), append, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        write_atomically(self._record(name), json.dumps(Process.of(pid).to_json()))

    def lives(self, name: str) -> bool:
        """Return True if the daemon that was started under a name still runs on this host."""
        process = self.process(name)
        if process is None:
            return False
        _reap(process.pid)
        return process.is_here and process.lives()

    def process(self, name: str) -> Process | None:
        """Return the process of a name as it was recorded, None if none was."""
        try:
            return Process(**json.loads(self._record(name).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def names(self) -> list[str]:
        """Return the names of all daemons that have a record, living or not."""
        return sorted(record.name.removesuffix(".pid") for record in self.records.glob("*.pid"))

    def stop(self, name: str) -> bool:
        """Stop a daemon; return True if it did live. Its record is removed."""
        process = self.process(name)
        stopped = False
        if process is not None and self.lives(name):
            stopped = True
            for number in (signal.SIGTERM, signal.SIGKILL):
                os.kill(process.pid, number)
                if poll(lambda: not self.lives(name), _STOP_S, _LOOK_S):
                    break
        self._record(name).unlink(missing_ok=True)
        return stopped

    def await_(self, name: str, ready: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until a daemon is `ready`; raises DaemonError if it ends or takes too long."""
        poll(lambda: ready() or not self.lives(name), seconds, _LOOK_S)
        if not ready():
            state = f"is not ready after {seconds:.0f} s" if self.lives(name) else "has ended"
            raise DaemonError(f"{name} {state}: {self.last_words(name)}")

    def last_words(self, name: str) -> str:
        """Return the last line that a daemon has logged or printed, with the path of the file."""
        for log in (self.logs / f"{name}.log", self.logs / f"{name}.out"):
            text = log.read_text(errors="replace").strip() if log.exists() else ""
            if text:
                return f"{log} ends with {text.splitlines()[-1].strip()!r}"
        return f"it has printed nothing (see {self.logs})"

    def _record(self, name: str) -> Path:
        return self.records / f"{name}.pid"


def find_program(name: str) -> str:
    """Return the path of a program; raises DaemonError if there is none."""
    path = locate(name)
    if path is None:
        raise DaemonError(f"{name} not found: is SLURM installed?")
    return path


def locate(name: str) -> str | None:
    """Return the path of a program, None if there is none."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SBIN}")


def processes_with(variable: str, value: str) -> Iterator[tuple[int, str, bytes]]:
    """Yield pid, command line and environment of processes that were started with a variable."""
    # psutil would save four lines here, and nothing else: whether a pid lives `jobs.contract.lock`
    # tells, also on nodes, and those have torch, torchvision and numpy alone.
    wanted = f"{variable}={value}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes()
            if wanted in variables.split(b"\0"):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                yield int(process.name), command, variables
        except (OSError, ValueError):
            continue  # ended in this moment, or somebody else's


def _reap(pid: int) -> None:
    """Collect the exit status of a daemon that this very process has started, if it has ended."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
