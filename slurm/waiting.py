"""Waits, bounded in time: for a controller that restarts, or for a file that is seen late.

A job that carries a study on has nobody to start it again, and a shared file system shows seconds
late what another machine has written.
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
from thermolion.errors import ThermolionError

_STAY_S = 480.0  # within the time limit of such a job
_AGAIN_S = 5.0
_PATIENCE_S = 60.0  # for a file of another machine
_LOOK_S = 0.2

Found = TypeVar("Found")

_log = logging.getLogger(__name__)


def retry_until(act: Callable[[], bool]) -> ThermolionError | None:
    """Call `act` until it returns True, or until eight minutes are over; return its last error.

    A refusal may pass: a controller restarts, somebody holds the lock, the queue is full (jobs
    that have ended are counted for some seconds more). On SIGTERM the process exits, so that it
    releases the lock.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    end, pause_s = time.monotonic() + _STAY_S, _AGAIN_S
    while True:
        last: ThermolionError | None = None
        try:
            if act():
                return None
        except (LockHeld, SiteError, SlurmError) as error:
            _log.warning("%s", error)
            last = error
            pause_s *= 2
        if time.monotonic() + pause_s > end:
            return last
        time.sleep(pause_s)


def read_late(path: Path) -> str:
    """Return the text of a file; raises FileNotFoundError if it does not turn up in a minute."""
    poll(path.exists)
    return path.read_text()


def poll(
    look: Callable[[], Found], seconds: float = _PATIENCE_S, every_s: float = _LOOK_S
) -> Found:
    """Call `look` until it returns something true or the time is over; return its last answer."""
    end = time.monotonic() + seconds
    while not (answer := look()) and time.monotonic() < end:
        time.sleep(every_s)
    return answer
