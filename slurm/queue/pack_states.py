"""The states of the packs of a submission: by the exit codes of their jobs, else by the queue.

Asks SLURM nothing: a queue is handed in. A pack whose job has left no exit code has ended only if
the queue proves it; if nobody knows, it is better waited for than trained twice.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath

from jobs.contract.layout import Layout
from slurm.helper_record import read_helper
from slurm.queue.job_names import JobNames
from slurm.queue.pending import read_reason
from slurm.queue.squeue import ExpectedJobs, Outstanding, Queue
from slurm.queue.state_words import Key, State
from slurm.submission import ArrayJob, SlurmSubmission, cancel_mark

_FROM_STUDY = 4  # so many last parts has the path of a batch script's folder from the study on


def read_states(submission: SlurmSubmission) -> dict[int, State | None]:
    """Return the state of every pack, None if only the queue can tell."""
    output = submission.folder / "output"
    present = {path.name for path in output.glob("*.exit")}
    sent = submission.array_jobs.by_pack()
    unsent: State = "ended" if submission.array_jobs.is_over else "queued"
    states: dict[int, State | None] = {}
    for pack in range(submission.packs):
        wanted = {exit_name(pack, process) for process in range(submission.lanes)}
        states[pack] = "ended" if wanted <= present else None if pack in sent else unsent
    return states


def expect_jobs(submissions: Sequence[SlurmSubmission]) -> ExpectedJobs:
    """Return the jobs that the queue should have of a study; call it before the queue is read.

    Users are the owners of files: the name in the environment may be anybody's.
    """
    jobs: dict[Key, Outstanding] = {}
    uids, known = {os.geteuid()}, set()
    arrays: dict[tuple[tuple[str, ...], int], str] = {}
    others: dict[PurePath, str] = {}
    names: set[str] = set()
    for submission in submissions:
        others[submission.feeder_scripts] = submission.feeder_name
        others[submission.after_scripts] = submission.after_name
        is_cancelled = submission.array_jobs.is_cancelled
        told = {file.name for file in (submission.folder / "output").glob("*.end")}
        told |= {file.name for file in (submission.folder / "output").glob("*.cancelled")}
        states = read_states(submission)
        for array_job in submission.array_jobs.read():
            uids.add(array_job.uid)
            names.add(array_job.name)
            if array_job.id is None:
                continue
            known.add(array_job.id)
            arrays[submission.scripts.parts[-_FROM_STUDY:], array_job.id] = array_job.name
            for pack in array_job.packs:
                if states.get(pack) is None:
                    marks = {end_name(pack), cancel_mark(submission.folder, pack).name}
                    accounted = not is_cancelled and not marks & told
                    key = array_job.key(pack, array_job.id)
                    jobs[key] = Outstanding(array_job.uid, accounted)
    layout = submissions[0].layout
    helper = read_helper(layout)
    if helper is not None and helper.is_expected:
        name, job, uid = helper.name or "", helper.job or 0, helper.uid or 0
        uids.add(uid)
        known.add(job)
        jobs[name, job, None] = Outstanding(uid, accounted=False)
    every = JobNames(arrays, others, frozenset({*names, *others.values()}))
    return ExpectedJobs(layout.folder, frozenset(uids), jobs, frozenset(known), every)


def complete_states(
    submission: SlurmSubmission, states: Mapping[int, State | None], queue: Queue
) -> dict[int, State]:
    """Return the state of every pack: that of `states`, or else that of the queue."""
    array_jobs = submission.array_jobs.by_pack()
    is_over = submission.array_jobs.is_over
    return {
        pack: state or _in_queue(array_jobs.get(pack), pack, queue, is_over)
        for pack, state in states.items()
    }


def is_helper_gone(layout: Layout, queue: Queue) -> bool:
    """Return True if the queue proves that the job has ended that looks after a study."""
    helper = read_helper(layout)
    if helper is None or helper.job is None or helper.name is None:
        return False
    key = (helper.name, helper.job, None)
    return key in queue.ended or key in queue.gone


def find_living(submission: SlurmSubmission, queue: Queue) -> dict[int, tuple[int, State]]:
    """Return, by pack, the array job and the state of those that are not known to have ended."""
    living: dict[int, tuple[int, State]] = {}
    states = read_states(submission)
    for array_job in submission.array_jobs.read():
        for job in _ids(array_job, queue):
            for pack in array_job.packs:
                key = array_job.key(pack, job)
                queued = queue.by_key.get(key)
                if queued is not None:
                    living[pack] = (job, queued.state)
                elif queue.misses(key) and states[pack] is None:
                    living[pack] = (job, "running")
    return living


def list_tasks(submission: SlurmSubmission, queue: Queue) -> Iterator[tuple[int, str, str | None]]:
    """Yield pack, id and, if it waits, SLURM's reason of every job that has left no exit code."""
    states = read_states(submission)
    for pack, array_job in submission.array_jobs.by_pack().items():
        if states.get(pack) is None and array_job.id is not None:
            job = queue.by_key.get(array_job.key(pack, array_job.id))
            reason = None if job is None else read_reason(job)
            yield pack, array_job.task_id(pack, array_job.id), reason


def end_name(pack: int) -> str:
    """Return the name of the file with the last state of a job that left no exit code."""
    return f"{pack}.end"


def exit_name(pack: int, process: int) -> str:
    """Return the name of the file in which a lane of a job leaves its exit code."""
    return f"{pack}.{process}.exit" if process else f"{pack}.exit"


def _ids(array_job: ArrayJob, queue: Queue) -> list[int]:
    return [array_job.id] if array_job.id is not None else queue.ids(array_job.name)


def _in_queue(array_job: ArrayJob | None, pack: int, queue: Queue, is_over: bool) -> State:
    if array_job is None:  # retracted since
        return "queued"
    for job in _ids(array_job, queue):
        queued = queue.by_key.get(array_job.key(pack, job))
        if queued is not None:
            return queued.state
    if array_job.id is None:  # sbatch has not answered yet, or never did: the dispatcher finds out
        return "ended" if is_over else "queued"
    key = array_job.key(pack, array_job.id)
    if key in queue.ended or key in queue.gone:
        return "ended"
    # Nobody knows of it; or it was sent since the queue was seen.
    return "running" if array_job.id in queue.known else "queued"
