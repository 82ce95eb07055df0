"""Waits for what goes away or comes by itself: a controller that restarts, a file that is late.

A job that carries a study on has nobody to start it again, and a shared file system shows seconds
late what another machine has written. Waits only for what must come.
"""

import logging
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from jobs.contract.lock import LockHeld
from slurm.slurm_errors import SiteError, SlurmError

_STAY_S = 480.0  # within the time limit of such a job
_AGAIN_S = 5.0
_PATIENCE_S = 60.0  # for a file of another machine
_LOOK_S = 0.2

Found = TypeVar("Found")

_log = logging.getLogger(__name__)


def retry_until(act: Callable[[], bool]) -> None:
    """Call `act` until it returns True, or the time is over.

    What is in the way may go: a controller restarts, somebody holds the lock, the queue is full
    (what has ended is counted for some seconds more). Whoever has to leave releases the lock.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    end, pause_s = time.monotonic() + _STAY_S, _AGAIN_S
    while True:
        try:
            if act():
                return
        except (LockHeld, SiteError, SlurmError) as error:
            _log.warning("%s", error)
            pause_s *= 2
        if time.monotonic() + pause_s > end:
            return
        time.sleep(pause_s)


def read_late(path: Path) -> str:
    """Return the text of a file; raises FileNotFoundError if it does not turn up in time."""
    text = await_late(lambda: _read(path))
    return path.read_text() if text is None else text


def await_late(look: Callable[[], Found | None]) -> Found | None:
    """Return what `look` finds, None if it finds nothing in time."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        found = look()
        if found is not None or time.monotonic() > end:
            return found
        time.sleep(_LOOK_S)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
