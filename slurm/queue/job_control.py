"""Acts on the jobs of a submission: cancels, holds and releases them, by pack or all together.

SLURM lets a requeued job wait for two minutes, and holds one for ever that a node has refused:
such jobs are found in a queue that is handed in, and start if the user may have them start.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from jobs.contract.atomic_write import write_once
from slurm.commands import ask, ask_if_allowed, in_batches
from slurm.helper_record import clear_helper
from slurm.queue.job_ends import find_stopped_by_other
from slurm.queue.pack_states import exit_name, find_living
from slurm.queue.squeue import Queue
from slurm.queue.state_words import Key
from slurm.slurm_errors import SlurmError
from slurm.submission import SlurmSubmission, cancel_mark

_CANCELLED = "130"  # what a lane would answer that was stopped by its user
_STOPPING_S = 240.0  # SLURM's KillWait, and some
_LOOK_S = 1.0
_DELAYED = "BeginTime"
_TASKS = 50  # that are let go at a time: the controller is everybody's
# A node revokes the credential of what has ended, to the second, and refuses what starts in the
# same one: SLURM then ends the job for good.
_APART_S = 2.0
_PATIENCE_S = 60.0
_PART_S = 1.0  # for a task that is made a record of its own, with a slow accounting


def cancel(
    submission: SlurmSubmission, packs: Collection[int] | None, look: Callable[[], Queue]
) -> None:
    """Stop jobs, and never send those that are not sent; return once none is in the queue.

    Running trials save and end at their next step. Raises SlurmError if they stay, and if SLURM
    takes no such order: then nothing is marked as cancelled.
    """
    marks = _Marks(submission, packs is None)
    try:
        _cancel(submission, packs, look, marks)
    except BaseException:
        marks.take_back()
        raise
    if packs is None:
        clear_helper(submission.layout)


class _Marks:
    """The marks of one `cancel`: by them jobs take a signal for the wish of their user.

    They come before SLURM is told, and have to go if it is not.
    """

    def __init__(self, submission: SlurmSubmission, whole: bool) -> None:
        self._submission, self._made = submission, list[Path]()
        self._whole = whole and not submission.array_jobs.is_cancelled
        self.told = False
        if whole:
            submission.array_jobs.cancel()

    def add(self, packs: Collection[int]) -> None:
        """Mark the jobs of some packs."""
        for pack in packs:
            mark = cancel_mark(self._submission.folder, pack)
            if not mark.exists():
                mark.touch()
                self._made.append(mark)

    def take_back(self) -> None:
        """Remove the marks, unless SLURM was told: then the jobs end."""
        if self.told:
            return
        if self._whole:
            self._submission.array_jobs.cancel(False)
        for mark in self._made:
            mark.unlink(missing_ok=True)


def _cancel(
    submission: SlurmSubmission,
    packs: Collection[int] | None,
    look: Callable[[], Queue],
    marks: _Marks,
) -> None:
    cancelled: set[str] = set()
    end = time.monotonic() + _STOPPING_S
    while True:  # somebody may just have sent another one
        queue = look()
        living = find_living(submission, queue)
        if packs is None:
            ours = [job for job, _ in living.values()]
            ours += [*queue.ids(submission.feeder_name), *queue.ids(submission.after_name)]
            ids = set(map(str, ours))
        else:
            living = {pack: living[pack] for pack in living.keys() & set(packs)}
            sent = submission.array_jobs.by_pack()
            ids = {sent[pack].task_id(pack, job) for pack, (job, _) in living.items()}
            marks.add(living)
            for pack in set(packs) - living.keys():
                _write_exit_codes(submission, pack)
        for batch in in_batches(sorted(ids - cancelled)):
            ask(["scancel", "--quiet", *batch])
            marks.told = True
        cancelled |= ids
        if not living:
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
    """Keep jobs that have not started from starting, or let them start; return their number.

    What runs goes on. Packs that are not in the queue yet are held back all or none, since they
    are sent in the order of their numbers.
    """
    unsent = submission.unsent()
    all_unsent = set(unsent) <= set(packs)
    if all_unsent:
        submission.array_jobs.hold(held)
    queue = look()
    stopped = set() if held else find_stopped_by_other(submission, queue)
    if stopped:
        submission.array_jobs.release(stopped)
    living = find_living(submission, queue)
    waiting = [p for p in sorted(packs) if p in living and living[p][1] == "queued"]
    verb = "hold" if held else "release"
    sent = submission.array_jobs.by_pack()
    # To name all tasks of an array that wait costs the controller nothing; each of a part of them
    # has to become a record of its own first, also in the accounting.
    parts: list[str] = []
    for job in sorted({living[pack][0] for pack in waiting}):
        queued = {pack for pack, of_pack in living.items() if of_pack == (job, "queued")}
        tasks = [pack for pack in waiting if pack in queued]
        if len(tasks) == len(queued) > 1:
            ask(["scontrol", verb, f"{job}_[{_name_ranges(tasks)}]"])
        else:
            parts += [sent[pack].task_id(pack, job) for pack in tasks]
    for batch in in_batches(parts):
        ask(["scontrol", verb, ",".join(batch)], _PATIENCE_S + len(batch) * _PART_S)
    return len(waiting) + (len(unsent) if all_unsent else 0)


def _name_ranges(tasks: Sequence[int]) -> str:
    """Return rising numbers as SLURM writes them: 0-3,5."""
    all_ = set(tasks)
    starts = [task for task in tasks if task - 1 not in all_]
    ends = [task for task in tasks if task + 1 not in all_]
    pairs = zip(starts, ends, strict=True)
    return ",".join(f"{start}-{end}" if start < end else f"{start}" for start, end in pairs)


def find_delayed(submissions: Sequence[SlurmSubmission], queue: Queue) -> list[str]:
    """Return the tasks that were requeued and have to wait, as scontrol names them.

    A task that has not begun before is left out: it waits because it was sent to start later.
    """
    requeued = (job for job in queue.jobs if job.reason == _DELAYED and job.state == "queued")
    tasks = _ours(submissions, {job.key for job in requeued})
    return [task for submission, pack, task in tasks if submission.has_begun(pack)]


def find_held(submissions: Sequence[SlurmSubmission], queue: Queue) -> list[str]:
    """Return the tasks that SLURM itself keeps from starting, for ever.

    It does so if a node has refused a requeued job, whose last attempt was not gone from it yet.
    """
    held = {job.key for job in queue.jobs if job.is_stuck}
    return [task for _, _, task in _ours(submissions, held)]


def start_waiting(submissions: Sequence[SlurmSubmission], queue: Queue) -> bool:
    """Let delayed and held tasks start, if that is allowed; return True if there are any."""
    delayed, held = find_delayed(submissions, queue), find_held(submissions, queue)
    if delayed:
        time.sleep(_APART_S)
    for task in delayed[:_TASKS]:
        if not ask_if_allowed(["scontrol", "update", f"jobid={task}", "StartTime=now"]):
            break  # they start when their delay is over
    if held:
        ask_if_allowed(["scontrol", "release", ",".join(held[:_TASKS])])
    return bool(delayed or held)


def _ours(
    submissions: Sequence[SlurmSubmission], keys: Collection[Key]
) -> Iterator[tuple[SlurmSubmission, int, str]]:
    """Yield submission, pack and task, as scontrol names it, of the jobs with the given keys."""
    for submission in submissions if keys else ():
        for pack, array_job in submission.array_jobs.by_pack().items():
            job = array_job.id
            if job is not None and array_job.key(pack, job) in keys:
                yield submission, pack, array_job.task_id(pack, job)


def _write_exit_codes(submission: SlurmSubmission, pack: int) -> None:
    """Write the exit codes of a job in its place: if it starts all the same, it ends at once."""
    output = submission.folder / "output"
    output.mkdir(exist_ok=True)
    cancel_mark(submission.folder, pack).unlink(missing_ok=True)
    for process in range(submission.lanes):
        write_once(output / exit_name(pack, process), f"{_CANCELLED}\n")
