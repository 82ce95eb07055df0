"""How jobs ended that left no exit code: by the state that SLURM gives, else by their output.

SLURM forgets that state within minutes, so it is kept in a file beside the job's output. If there
is none, what the job has printed and logged tells. Asks SLURM nothing: a queue is handed in.
"""

import contextlib
import json
import time
from collections.abc import Collection
from pathlib import Path

from jobs.contract.atomic_write import write_once
from jobs.contract.failures import FailureClass, JobEnd, classify_output
from slurm.queue.pack_states import end_name
from slurm.queue.squeue import Ended, Queue, parse_failure_class
from slurm.submission import ArrayJob, SlurmSubmission

_TAIL = 16_384  # bytes of what a job has printed: its killer speaks last


def find_ends(
    submission: SlurmSubmission, packs: Collection[int], queue: Queue
) -> dict[int, JobEnd]:
    """Return how the jobs of `packs` ended, by pack; they are jobs that left no exit code.

    Return nothing for a submission that its user has cancelled.
    """
    if not packs or submission.array_jobs.is_cancelled:
        return {}
    array_jobs = submission.array_jobs.by_pack()
    return {pack: _judge(submission, pack, array_jobs.get(pack), queue) for pack in packs}


def write_end(folder: Path, pack: int, word: str, nodes: str, gained: bool) -> None:
    """Write down, from within a job, why it leaves before it has finished."""
    record = {"word": word, "nodes": nodes, "gained": gained}
    write_once(folder / "output" / end_name(pack), json.dumps(record))


def _judge(
    submission: SlurmSubmission, pack: int, array_job: ArrayJob | None, queue: Queue
) -> JobEnd:
    kept = submission.folder / "output" / end_name(pack)
    end = _read_last_state(kept, pack, array_job, queue)
    node = end.nodes or None
    failure = parse_failure_class(end.word)
    if failure is not None:
        seen_s = kept.stat().st_mtime if kept.exists() else time.time()
        return JobEnd(failure, _explain(failure, end.gained), node, end.gained, seen_s)
    failure = classify_output(_tail(submission.layout.job_output(submission.id, pack)))
    if failure is not None:
        return JobEnd(failure, _explain(failure, None), node)
    verdict = f"SLURM says {end.word}" if end.word else "SLURM has no word on it any more"
    if not submission.has_begun(pack):
        return JobEnd("NEVER_STARTED", f"its job ended before it began: {verdict}", node)
    return JobEnd("LOST", f"its process died: {verdict}", node)


def _read_last_state(kept: Path, pack: int, array_job: ArrayJob | None, queue: Queue) -> Ended:
    """Return the last state of a job from its file, else from the queue; empty if unknown."""
    try:
        return Ended(**json.loads(kept.read_text()))
    except FileNotFoundError:
        pass
    except (OSError, TypeError, ValueError):
        return Ended("", "")  # what is damaged tells nothing
    if array_job is None or array_job.id is None:
        return Ended("", "")
    end = queue.ended.get((array_job.name, array_job.id, pack))
    if end is None:
        return Ended("", "")
    with contextlib.suppress(OSError):  # the study may be one that this user only reads
        write_once(kept, json.dumps({"word": end.word, "nodes": end.nodes}))
    return end


def _explain(failure: FailureClass, gained: bool | None) -> str:
    if failure == "TIMEOUT" and gained is False:
        return "its time was over, and it had got no further than the attempt before"
    return {
        "NODE_FAIL": "its node died",
        "TIMEOUT": "its time was over",
        "PREEMPTED": "it had to make room for another job",
    }.get(failure, "it took more memory than its job had")


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
