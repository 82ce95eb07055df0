"""The patience of a job that carries a study on: nobody is there to start it again."""

import logging
import signal
import sys
import time
from collections.abc import Callable

from jobs.lock import LockHeld
from slurm.slurm_errors import SiteError, SlurmError

_STAY_S = 480.0  # within the time limit of such a job
_AGAIN_S = 5.0

_log = logging.getLogger(__name__)


def insist(act: Callable[[], bool]) -> None:
    """Do something until it says that it is done, or the time is over.

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
