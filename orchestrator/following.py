"""Collecting a study while it runs: look after look, until no job of it lives.

One writer at a time: the lock is held for a look, not for the whole time, so that whoever
concludes the study may collect as well. A store that does not answer is waited for.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.lock import LockHeld
from orchestrator.backends.records import BackendError
from orchestrator.conclude import Record
from orchestrator.status import read_status
from orchestrator.study import Study

if TYPE_CHECKING:
    from tracking.collect import Collected

_LOOK_EVERY_S = 4.0  # a point of a curve is in MLflow within 15 s, the look itself included
_SHARE_OF_A_CORE = 0.5  # what looking may cost a large study
_MOST_PAUSE_S = 60.0


@dataclass(frozen=True)
class Trouble:
    """A look that brought nothing; the next one follows after `pause_s`."""

    message: str
    pause_s: float


def follow(
    study: Study,
    uri: str | None,
    break_lock: bool = False,
    restore: bool = False,
    checkpoints: bool = False,
) -> Iterator["Collected | Trouble"]:
    """Collect again and again; yield what each look brought, or what kept it from it.

    Ends with a look after the last job has ended. Trouble is yielded once as long as it stays of
    one kind. Raises CollectError if waiting helps nothing.
    """
    from tracking.collect import CollectError, Collector

    collector = Collector(study.layout, uri, restore, checkpoints)
    pause_s = _LOOK_EVERY_S
    told: type[Exception] | None = None
    while True:
        begin = time.process_time()  # waiting for a server costs no core
        try:
            status = read_status(study)  # first: what it ends with is logged then
            alive = status.jobs_alive > 0
            record = Record.read(study)
            comparison = None if alive else record.compare_if_possible()  # once: it takes seconds
            collected = record.collect_by(collector, break_lock, comparison, status.lost)
        except (BackendError, CollectError, LockHeld) as error:
            if isinstance(error, CollectError) and not error.may_pass:
                raise
            pause_s = min(2 * pause_s, _MOST_PAUSE_S)
            if type(error) is not told:
                told = type(error)
                yield Trouble(str(error), pause_s)
            time.sleep(pause_s)
            continue
        yield collected
        if not alive:
            return
        break_lock, pause_s, told = False, _LOOK_EVERY_S, None
        took = time.process_time() - begin
        time.sleep(max(_LOOK_EVERY_S, took / _SHARE_OF_A_CORE))
