"""Acts on the jobs of a submission: cancels, holds and releases them, by pack or all together.

SLURM lets a requeued job wait for two minutes, and holds one for ever that a node has refused:
such jobs are found in a queue that is handed in, and are let go if that is allowed.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from jobs.contract.atomic_write import write_once
from slurm.commands import ask
from slurm.pack_states import exit_name, find_living
from slurm.slurm_errors import SlurmError
from slurm.squeue import Key, Queue
from slurm.submission import SlurmSubmission, cancel_mark

_CANCELLED = "130"  # what a lane would answer that was stopped by its user
_STOPPING_S = 240.0  # SLURM's KillWait, and some
_LOOK_S = 1.0
_IDS = 500  # ids in one call
_DELAYED = "BeginTime"
_TASKS = 50  # that are let go at a time: the controller is everybody's
# A node revokes the credential of what has ended, to the second, and refuses what starts in the
# same one: SLURM then ends the job for good.
_APART_S = 2.0

_log = logging.getLogger(__name__)


def cancel(
    submission: SlurmSubmission, packs: Collection[int] | None, look: Callable[[], Queue]
) -> None:
    """Stop jobs, and never send those that have not been; returns once none is in the queue.

    Running trials save and end at their next step. Raises SlurmError if they stay.
    """
    if packs is None:
        submission.array_jobs.cancel()
    told: set[str] = set()
    end = time.monotonic() + _STOPPING_S
    while True:  # somebody may just have sent another one
        queue = look()
        found = find_living(submission, queue)
        if packs is None:
            ours = [job for job, _ in found.values()]
            ours += [*queue.ids(submission.feeder_name), *queue.ids(submission.after_name)]
            ids = set(map(str, ours))
        else:
            found = {pack: found[pack] for pack in found.keys() & set(packs)}
            ids = {f"{job}_{pack}" for pack, (job, _) in found.items()}
            for pack in found:  # or it would take the signal for a preemption
                cancel_mark(submission.folder, pack).touch()
            for pack in set(packs) - found.keys():
                _leave_word(submission, pack)
        for some in _slices(sorted(ids - told)):
            ask(["scancel", "--quiet", *some])
        told |= ids
        if not found:
            return
        some_ids = f"submission {submission.id}: jobs {', '.join(sorted(ids)[:3])}"
        if queue.trouble is not None:
            raise SlurmError(f"{some_ids} were told to end, but maybe have not: {queue.trouble}")
        if time.monotonic() > end:
            raise SlurmError(
                f"{some_ids} do not end within {_STOPPING_S:.0f} s; look with squeue, and cancel "
                "again"
            )
        time.sleep(_LOOK_S)


def hold(
    submission: SlurmSubmission, packs: Collection[int], held: bool, look: Callable[[], Queue]
) -> int:
    """Keep what has not started from starting, or let it start; return the number of jobs.

    What runs goes on. What is not in the queue yet is held back together, or not at all: it is
    sent by number.
    """
    unsent = submission.unsent()
    all_unsent = set(unsent) <= set(packs)
    if all_unsent:
        submission.array_jobs.hold(held)
    found = find_living(submission, look())
    waiting = [p for p in sorted(packs) if p in found and found[p][1] == "queued"]
    verb = "hold" if held else "release"
    for some in _slices([f"{found[pack][0]}_{pack}" for pack in waiting]):
        ask(["scontrol", verb, ",".join(some)])
    return len(waiting) + (len(unsent) if all_unsent else 0)


def find_delayed(submissions: Sequence[SlurmSubmission], queue: Queue) -> list[str]:
    """Return the tasks that were requeued and have to wait, as scontrol names them.

    One that has not begun before waits because it was sent so.
    """
    requeued = (job for job in queue.jobs if job.reason == _DELAYED and job.state == "queued")
    found = []
    for submission, pack, task in _ours(submissions, {job.key for job in requeued}):
        begun = submission.layout.events.glob(f"{submission.id}-{pack}-*.jsonl")
        if next(begun, None) is not None:
            found.append(task)
    return found


def find_held(submissions: Sequence[SlurmSubmission], queue: Queue) -> list[str]:
    """Return the tasks that SLURM itself keeps from starting, for ever.

    It does so if a node has refused a requeued job: it had not got rid of the last attempt yet.
    """
    held = {job.key for job in queue.jobs if job.is_stuck}
    return [task for _, _, task in _ours(submissions, held)]


def start_delayed(tasks: Sequence[str]) -> None:
    """Let requeued tasks start; if that is not allowed, they start in their own time."""
    if tasks:
        time.sleep(_APART_S)
    for task in tasks[:_TASKS]:
        try:
            ask(["scontrol", "update", f"jobid={task}", "StartTime=now"])
        except SlurmError as error:
            _log.info("%s", error)
            return


def release_held(tasks: Sequence[str]) -> None:
    """Let tasks start that SLURM has held by itself, if that is allowed."""
    if tasks:
        try:
            ask(["scontrol", "release", ",".join(tasks[:_TASKS])])
        except SlurmError as error:
            _log.info("%s", error)


def _ours(
    submissions: Sequence[SlurmSubmission], keys: Collection[Key]
) -> Iterator[tuple[SlurmSubmission, int, str]]:
    """Yield the packs whose jobs are among some, with the tasks as scontrol names them."""
    for submission in submissions if keys else ():
        for array_job in submission.array_jobs.read():
            for pack in array_job.packs:
                if (array_job.name, array_job.id, pack) in keys:
                    yield submission, pack, f"{array_job.id}_{pack}"


def _leave_word(submission: SlurmSubmission, pack: int) -> None:
    """Say for a job that it has ended: should it start all the same, it leaves at once."""
    output = submission.folder / "output"
    output.mkdir(exist_ok=True)
    cancel_mark(submission.folder, pack).unlink(missing_ok=True)
    for process in range(submission.lanes):
        write_once(output / exit_name(pack, process), f"{_CANCELLED}\n")


def _slices(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _IDS):
        yield ids[start : start + _IDS]
