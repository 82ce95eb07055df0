"""Jobs that were requeued and wait for nothing: for two minutes, or until somebody frees them.

Whoever looks at a study tells SLURM that they may start now, where that is allowed.
"""

import logging
import time
from collections.abc import Collection, Iterator, Sequence

from slurm.commands import ask
from slurm.slurm_errors import SlurmError
from slurm.squeue import Key, Queue
from slurm.submission import SlurmSubmission

_REASON = "BeginTime"
_AT_ONCE = 50  # jobs a look: the controller is everybody's
# A node revokes the credential of what has ended, to the second, and refuses what starts in the
# same one: SLURM then ends the job for good.
_APART_S = 2.0

_log = logging.getLogger(__name__)


def find_delayed(submissions: Sequence[SlurmSubmission], queue: Queue) -> list[str]:
    """Return the tasks of some orders that were requeued and have to wait, as scontrol names them.

    One that has not begun before waits because it was sent so.
    """
    requeued = (job for job in queue.jobs if job.reason == _REASON and job.state == "queued")
    found = []
    for submission, pack, task in _ours(submissions, {job.key for job in requeued}):
        begun = submission.layout.events.glob(f"{submission.id}-{pack}-*.jsonl")
        if next(begun, None) is not None:
            found.append(task)
    return found


def find_held(submissions: Sequence[SlurmSubmission], queue: Queue) -> list[str]:
    """Return the tasks of some orders that SLURM itself keeps from starting, for ever.

    It does so where a node has refused a requeued job: it had not got rid of the last attempt yet.
    """
    held = {job.key for job in queue.jobs if job.is_stuck}
    return [task for _, _, task in _ours(submissions, held)]


def _ours(
    submissions: Sequence[SlurmSubmission], keys: Collection[Key]
) -> Iterator[tuple[SlurmSubmission, int, str]]:
    """Yield the packs whose jobs are among some, with the words that scontrol has for those."""
    for submission in submissions if keys else ():
        for array_job in submission.array_jobs.read():
            job = None if array_job.job is None else array_job.job.id
            for pack in array_job.packs:
                if job is not None and (array_job.name, job, pack) in keys:
                    yield submission, pack, f"{job}_{pack}"


def start_delayed(tasks: Sequence[str]) -> None:
    """Let requeued tasks start; where that is not allowed they start in their own time."""
    if tasks:
        time.sleep(_APART_S)
    for task in tasks[:_AT_ONCE]:
        try:
            ask(["scontrol", "update", f"jobid={task}", "StartTime=now"])
        except SlurmError as error:
            _log.info("%s", error)
            return


def release_held(tasks: Sequence[str]) -> None:
    """Let tasks start that SLURM has held by itself, where that is allowed."""
    if tasks:
        try:
            ask(["scontrol", "release", ",".join(tasks[:_AT_ONCE])])
        except SlurmError as error:
            _log.info("%s", error)
