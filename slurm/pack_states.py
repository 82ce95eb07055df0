"""How the packs of an order stand: by what their jobs have left behind, else by the queue.

Asks nobody: a queue is handed in. A pack whose job has left no word has ended only if the queue
proves it; if nobody knows, it is better waited for than trained twice.

Stopping, holding and releasing the jobs of an order: by pack, or all of it.
"""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from jobs.contract.atomic_write import write_once
from slurm.commands import ask
from slurm.slurm_errors import SlurmError
from slurm.squeue import ExpectedJobs, Key, Outstanding, Queue, State
from slurm.submission import ArrayJob, SlurmSubmission, cancel_mark


def read_states(submission: SlurmSubmission) -> dict[int, State | None]:
    """Return the state of every pack, None where only the queue can tell."""
    output = submission.folder / "output"
    left = {path.name for path in output.glob("*.exit")} if output.is_dir() else set()
    array_jobs = submission.array_jobs
    sent = {pack for array_job in array_jobs.read() for pack in array_job.packs}
    unsent: State = "ended" if array_jobs.is_over else "queued"
    states: dict[int, State | None] = {}
    for pack in range(submission.packs):
        words = {exit_name(pack, process) for process in range(submission.lanes)}
        states[pack] = "ended" if words <= left else None if pack in sent else unsent
    return states


def expect_jobs(submissions: Sequence[SlurmSubmission]) -> ExpectedJobs:
    """Return what some orders of a study let one expect in the queue; to be read before it is.

    Users are told by the owners of files: the name in the environment may be anybody's.
    """
    jobs: dict[Key, Outstanding] = {}
    uids, known = {os.geteuid()}, set()
    for submission in submissions:
        is_cancelled = submission.array_jobs.is_cancelled
        output = submission.folder / "output"
        states = read_states(submission)
        for array_job in submission.array_jobs.read():
            uids.add(array_job.uid)
            if array_job.job is None:
                continue
            known.add(array_job.job.id)
            for pack in array_job.packs:
                if states.get(pack) is None:
                    is_told = is_cancelled or (output / end_name(pack)).exists()
                    jobs[array_job.name, array_job.job.id, pack] = Outstanding(
                        array_job.uid, not is_told
                    )
    study = submissions[0].layout.folder
    return ExpectedJobs(study, frozenset(uids), jobs, frozenset(known))


def complete_states(
    submission: SlurmSubmission, states: Mapping[int, State | None], queue: Queue
) -> dict[int, State]:
    """Return the state of every pack, with the queue's word where there is no other."""
    array_jobs = {
        pack: array_job for array_job in submission.array_jobs.read() for pack in array_job.packs
    }
    is_over = submission.array_jobs.is_over
    return {
        pack: state or _in_queue(array_jobs.get(pack), pack, queue, is_over)
        for pack, state in states.items()
    }


def find_living(submission: SlurmSubmission, queue: Queue) -> dict[int, tuple[int, State]]:
    """Return, by pack, the array job and the state of those that are not known to have ended."""
    found: dict[int, tuple[int, State]] = {}
    states = read_states(submission)
    for array_job in submission.array_jobs.read():
        for job in _ids(array_job, queue):
            for pack in array_job.packs:
                key = (array_job.name, job, pack)
                queued = queue.by_key.get(key)
                if queued is not None:
                    found[pack] = (job, queued.state)
                elif queue.misses(key) and states[pack] is None:
                    found[pack] = (job, "running")
    return found


def end_name(pack: int) -> str:
    """Return the name under which is kept what SLURM said of a job that left no exit code."""
    return f"{pack}.end"


def exit_name(pack: int, process: int) -> str:
    """Return the name under which a lane of a job leaves its exit code."""
    return f"{pack}.{process}.exit" if process else f"{pack}.exit"


def _ids(array_job: ArrayJob, queue: Queue) -> list[int]:
    return [array_job.job.id] if array_job.job is not None else queue.ids(array_job.name)


def _in_queue(array_job: ArrayJob | None, pack: int, queue: Queue, is_over: bool) -> State:
    if array_job is None:  # retracted since
        return "queued"
    for job in _ids(array_job, queue):
        queued = queue.by_key.get((array_job.name, job, pack))
        if queued is not None:
            return queued.state
    if (
        array_job.job is None
    ):  # sbatch has not answered yet, or never did: the next feeding finds out
        return "ended" if is_over else "queued"
    key = (array_job.name, array_job.job.id, pack)
    if key in queue.ended or key in queue.gone:
        return "ended"
    # Nobody knows of it; or it was sent since the queue was seen.
    return "running" if array_job.job.id in queue.known else "queued"


_CANCELLED = "130"  # what a lane would answer that was stopped by its user
_STOPPING_S = 240.0  # SLURM's KillWait, and some
_LOOK_S = 1.0
_AT_ONCE = 500  # ids in one call


def cancel(
    submission: SlurmSubmission, packs: Collection[int] | None, look: Callable[[], Queue]
) -> None:
    """Stop jobs, and never send those that have not been; returns once none is in the queue.

    Running trials save and end at their next step. Raises SlurmError where they stay.
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
    """Keep what has not started from starting, or let it; return how many jobs that are.

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


def _leave_word(submission: SlurmSubmission, pack: int) -> None:
    """Say in a job's stead that it has ended: should it start all the same, it leaves at once."""
    output = submission.folder / "output"
    output.mkdir(exist_ok=True)
    cancel_mark(submission.folder, pack).unlink(missing_ok=True)
    for process in range(submission.lanes):
        write_once(output / exit_name(pack, process), f"{_CANCELLED}\n")


def _slices(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _AT_ONCE):
        yield ids[start : start + _AT_ONCE]
