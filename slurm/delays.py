"""Jobs that were requeued and wait for nothing: for two minutes, or until somebody frees them.

Whoever looks at a study tells SLURM that they may start now, where that is allowed.
"""

import logging
import time
from collections.abc import Sequence

from slurm.commands import ask
from slurm.errors import SlurmError
from slurm.order import Order
from slurm.queue import Queue

_REASON = "BeginTime"
_AT_ONCE = 50  # jobs a look: the controller is everybody's
# A node revokes the credential of what has ended, to the second, and refuses what starts in the
# same one: SLURM then ends the job for good.
_APART_S = 2.0

_log = logging.getLogger(__name__)


def delayed(orders: Sequence[Order], queue: Queue) -> list[str]:
    """Return the tasks of some orders that were requeued and have to wait, as scontrol names them.

    One that has not begun before waits because it was sent so.
    """
    requeued = (j for j in queue.jobs if j.reason == _REASON and j.state == "queued")
    waiting = {(j.array_job, j.task) for j in requeued}
    if not waiting:
        return []
    found = []
    for order in orders:
        for chunk in order.chunks.read():
            for pack in chunk.packs if chunk.job is not None else ():
                begun = order.layout.events.glob(f"{order.submission}-{pack}-*.jsonl")
                job = None if chunk.job is None else chunk.job.id
                if (job, pack) in waiting and next(begun, None) is not None:
                    found.append(f"{job}_{pack}")
    return found


def stuck(orders: Sequence[Order], queue: Queue) -> list[str]:
    """Return the tasks of some orders that SLURM itself keeps from starting, for ever.

    It does so where a node has refused a requeued job: it had not got rid of the last attempt yet.
    """
    held = {(j.array_job, j.task) for j in queue.jobs if j.is_stuck}
    return [
        f"{chunk.job.id}_{pack}"
        for order in orders
        for chunk in (order.chunks.read() if held else ())
        for pack in chunk.packs
        if chunk.job is not None and (chunk.job.id, pack) in held
    ]


def release(tasks: Sequence[str]) -> None:
    """Let requeued tasks start; where that is not allowed they start in their own time."""
    if tasks:
        time.sleep(_APART_S)
    for task in tasks[:_AT_ONCE]:
        try:
            ask(["scontrol", "update", f"jobid={task}", "StartTime=now"])
        except SlurmError as error:
            _log.info("%s", error)
            return


def free(tasks: Sequence[str]) -> None:
    """Let tasks start that SLURM has held by itself, where that is allowed."""
    if tasks:
        try:
            ask(["scontrol", "release", ",".join(tasks[:_AT_ONCE])])
        except SlurmError as error:
            _log.info("%s", error)
