"""How the jobs ended that left no exit code: by SLURM's last word, else by what they printed.

SLURM's word is kept beside the job's output, since SLURM forgets it within minutes. Without it,
what the job has printed and logged tells. Asks nobody: a queue is handed in.
"""

import contextlib
import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract.atomic_write import write_once
from jobs.contract.failures import FailureClass, JobEnd, classify_output
from slurm.pack_states import end_name
from slurm.squeue import Ended, Queue, parse_failure_class
from slurm.submission import ArrayJob, SlurmSubmission

_TAIL = 16_384  # bytes of what a job has printed: its killer speaks last


@dataclass(frozen=True)
class _LastWord:
    """SLURM's last word on a job, or that of the job itself; `gained` as in `JobEnd`."""

    word: str
    nodes: str
    gained: bool | None = None


def find_ends(
    submission: SlurmSubmission, packs: Collection[int], queue: Queue
) -> dict[int, JobEnd]:
    """Return, by pack, how the jobs of `packs` ended, which are those that left no exit code.

    Nothing is said of a submission that its user has cancelled.
    """
    if not packs or submission.array_jobs.is_cancelled:
        return {}
    array_jobs = {
        pack: array_job for array_job in submission.array_jobs.read() for pack in array_job.packs
    }
    words = {pack: _word(submission, pack, array_jobs.get(pack), queue) for pack in packs}
    return {pack: _end(submission, pack, word) for pack, word in words.items()}


def write_end(folder: Path, pack: int, word: str, nodes: str, gained: bool) -> None:
    """Write down, from within a job, why it leaves though it has not finished."""
    record = {"word": word, "nodes": nodes, "gained": gained}
    write_once(folder / "output" / end_name(pack), json.dumps(record))


def _word(
    submission: SlurmSubmission, pack: int, array_job: ArrayJob | None, queue: Queue
) -> _LastWord | None:
    path = submission.folder / "output" / end_name(pack)
    try:
        return _LastWord(**json.loads(path.read_text()))
    except FileNotFoundError:
        pass
    except (OSError, TypeError, ValueError):
        return None  # what is damaged tells nothing
    if array_job is None or array_job.id is None:
        return None
    ended = queue.ended.get((array_job.name, array_job.id, pack))
    return None if ended is None else _keep(submission, pack, ended)


def _keep(submission: SlurmSubmission, pack: int, ended: Ended) -> _LastWord:
    record: dict[str, Any] = {"word": ended.word, "nodes": ended.nodes}
    with contextlib.suppress(OSError):  # somebody else's study may be one that we only read
        write_once(submission.folder / "output" / end_name(pack), json.dumps(record))
    return _LastWord(**record)


def _end(submission: SlurmSubmission, pack: int, word: _LastWord | None) -> JobEnd:
    node = (word.nodes or None) if word else None
    gained = None if word is None else word.gained
    failure = None if word is None else parse_failure_class(word.word)
    if failure is not None:
        kept = submission.folder / "output" / end_name(pack)
        seen_s = kept.stat().st_mtime if kept.exists() else time.time()
        return JobEnd(failure, _why(failure, gained), node, gained, seen_s)
    failure = classify_output(_tail(submission.layout.job_output(submission.id, pack)))
    if failure is not None:
        return JobEnd(failure, _why(failure, None), node)
    said = f"SLURM says {word.word}" if word else "SLURM has no word on it any more"
    logs = submission.layout.events.glob(f"{submission.id}-{pack}-*.jsonl")
    if next(logs, None) is None:
        return JobEnd("NEVER_STARTED", f"its job ended before it began: {said}", node)
    return JobEnd("LOST", f"its process died: {said}", node)


def _why(failure: FailureClass, gained: bool | None) -> str:
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
