"""Runs one command, and leaves no process of it behind even if its own parent dies.

Standard library only, run by its file name: `python -I -S supervisor.py GRACE_S CODE_FILE WORDS`.
A line on standard input asks the command to end; the end of the input (the parent has closed it,
or has died) kills it. The return code, negative for a signal, is written to CODE_FILE.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # of prctl(2)
_LEFT_BEHIND_S = 2.0  # for what the command has started and not awaited
_AGAIN_S = 0.05
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class Supervisor:
    """One command in a session of its own, with everything that it starts."""

    def __init__(self, words: list[str], grace_s: float) -> None:
        self._grace_s = grace_s
        self._code: int | None = None
        self._kill_at: float | None = None
        self._is_connected = True
        self._child = _start(words)

    def run(self, wakeup: int) -> int | None:
        """Return the return code once neither the command nor a descendant of it lives.

        `wakeup` becomes readable when a child may have ended.
        """
        while not self._reap():
            now = time.monotonic()
            if self._kill_at is not None and now >= self._kill_at:
                self._signal_all(signal.SIGKILL)
                self._kill_at = now + _AGAIN_S  # what has just been forked
            wait = None if self._kill_at is None else self._kill_at - now
            ready, _, _ = select.select(
                [wakeup, 0] if self._is_connected else [wakeup], [], [], wait
            )
            if wakeup in ready:
                os.read(wakeup, 4096)
            if 0 in ready:
                self._obey(os.read(0, 4096))
        return self._code

    def _obey(self, request: bytes) -> None:
        if not request:
            self._is_connected = False
            self._kill_at = 0
        elif self._kill_at is None and self._code is None:
            # The command alone: it may need its workers to save what they have.
            self._kill_at = time.monotonic() + self._grace_s
            _signal(self._child, signal.SIGTERM)

    def _reap(self) -> bool:
        """Reap the processes that have ended; return True if none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._child:
                self._code = os.waitstatus_to_exitcode(status)
                if self._kill_at is None:
                    self._kill_at = time.monotonic() + _LEFT_BEHIND_S
                self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: signal.Signals) -> None:
        if Path("/proc/self/stat").exists():
            for pid in _descendants():
                _signal(pid, number)
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child, number)


def _start(words: list[str]) -> int:
    """Start a command, which dies with this process (Linux); return its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        _prctl(_SET_PDEATHSIG, signal.SIGKILL)
        for number in (*_IGNORED, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)  # what is ignored would be inherited
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execvp(words[0], words)
    except OSError as error:
        os.write(2, f"cannot run {words[0]!r}: {error.strerror}\n".encode())
    finally:
        os._exit(127)  # what a shell answers


def _descendants() -> list[int]:
    """Return the pids of all that descend from this process."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    descendants, new = [], [os.getpid()]
    while new:
        new = [child for parent in new for child in children.get(parent, ())]
        descendants += new
    return descendants


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def main() -> None:
    """Run the command that the command line gives."""
    grace_s, code_file, *words = sys.argv[1:]
    # Orphans of the command become our children, so that all of them are found.
    _prctl(_SET_CHILD_SUBREAPER, 1)
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    code = Supervisor(words, float(grace_s)).run(read_end)
    Path(code_file).write_text(f"{code}\n")


if __name__ == "__main__":
    main()
