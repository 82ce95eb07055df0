"""How jobs ended that left no exit code: by the state that SLURM gives, else by their output.

SLURM forgets that state within minutes, so it is kept in a file beside the job's output. If there
is none, what the job has printed and logged tells. Asks SLURM nothing: a queue is handed in.
"""

import contextlib
import json
import pwd
import re
import time
from collections.abc import Collection
from pathlib import Path

from jobs.contract.atomic_write import write_once
from jobs.contract.failures import (
    FailureClass,
    JobEnd,
    classify_output,
    find_common_start_failure,
)
from jobs.contract.oom_kills import OOM_SUFFIX
from jobs.contract.pack import Pack
from slurm.queue.pack_states import complete_states, end_name, exit_name, read_states
from slurm.queue.squeue import Queue
from slurm.queue.state_words import (
    CANCELLED,
    Ended,
    is_cancelled,
    parse_canceller,
    parse_failure_class,
)
from slurm.submission import ArrayJob, SlurmSubmission, cancel_mark

_TAIL = 16_384  # bytes of what a job has printed: its killer speaks last
_MOST_SAID = 200  # characters of its last line
_OF_SLURM = ("srun: ", "slurmstepd: ")


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


def find_stopped_by_other(submission: SlurmSubmission, queue: Queue) -> set[int]:
    """Return the packs whose job somebody else has cancelled, or may have; no person knows it."""
    ends = _find_dead_ends(submission, queue)
    return {pack for pack, end in ends.items() if end.by_other} - submission.array_jobs.released


def fails_to_start(submission: SlurmSubmission, queue: Queue) -> bool:
    """Return True if what all jobs of a submission do first fails: what is unsent fails alike."""
    if submission.has_any_begun():
        return False
    ends = _find_dead_ends(submission, queue).values()
    return find_common_start_failure(ends, Pack.patience) is not None


def _find_dead_ends(submission: SlurmSubmission, queue: Queue) -> dict[int, JobEnd]:
    """Return, by pack, how those jobs of a submission ended that left no exit code."""
    states = complete_states(submission, read_states(submission), queue)
    exits = {path.name for path in (submission.folder / "output").glob("*.exit")}
    dead = [p for p, state in states.items() if state == "ended" and exit_name(p, 0) not in exits]
    return find_ends(submission, dead, queue)


def write_end(
    folder: Path, pack: int, word: str, nodes: str, gained: bool | None = None, why: str = ""
) -> None:
    """Write down, from within a job, why it leaves before it has finished."""
    record = {"word": word, "nodes": nodes, "gained": gained, "why": why}
    write_once(folder / "output" / end_name(pack), json.dumps(record))


def _judge(
    submission: SlurmSubmission, pack: int, array_job: ArrayJob | None, queue: Queue
) -> JobEnd:
    kept = submission.folder / "output" / end_name(pack)
    end = _read_last_state(kept, pack, array_job, queue)
    node = end.nodes or None
    failure = parse_failure_class(end.word)
    has_begun = submission.has_begun(pack)
    seen_s = kept.stat().st_mtime if kept.exists() else time.time()
    if failure is not None:
        why = end.why or _explain(failure, end.gained)
        cause = _generalise(why) if failure == "GPU_FAULT" and not has_begun else None
        return JobEnd(failure, why, node, end.gained, seen_s, cause)
    output = _tail(submission.layout.job_output(submission.id, pack))
    failure = classify_output(output)
    if failure not in (None, "CANCELLED"):
        named = next((line.strip() for line in output.splitlines() if classify_output(line)), "")
        why = named[:_MOST_SAID] if failure == "GPU_FAULT" else _explain(failure, None)
        return JobEnd(failure, why, node, time_s=seen_s)
    if is_cancelled(end.word) or (failure is not None and not end.word):
        return _judge_cancelled(submission, pack, array_job, end)
    log = submission.layout.job_output(submission.id, pack)
    if has_begun and log.with_suffix(OOM_SUFFIX).exists():
        return JobEnd("OOM_HOST", "its node had no memory left for it", node, time_s=seen_s)
    verdict = f"SLURM says {end.word}" if end.word else "SLURM has no word on it any more"
    said = _find_last_words(output)
    why = verdict if said is None else f"{verdict}, and its log ends with: {said}"
    if has_begun:
        return JobEnd("LOST", f"its process died: {why}", node)
    # What SLURM, or somebody, has cancelled says nothing of other jobs.
    is_own = end.word.startswith("FAILED") or (said and not end.word)
    cause = _generalise(said or end.word) if is_own else None
    why = f"its job ended before it began: {why}"
    return JobEnd("NEVER_STARTED", why, node, cause=cause)


def _judge_cancelled(
    submission: SlurmSubmission, pack: int, array_job: ArrayJob | None, end: Ended
) -> JobEnd:
    """Return the end of a job that was cancelled: by its sender, or by somebody else."""
    node, uid = end.nodes or None, parse_canceller(end.word)
    if cancel_mark(submission.folder, pack).exists():
        return JobEnd("CANCELLED", "it was cancelled by `thermolion cancel`", node)
    if uid is None:
        why = "its job was cancelled, and SLURM does not say by whom"
        return JobEnd("CANCELLED", why, node, by_other=True)
    if array_job is not None and uid == array_job.uid:
        return JobEnd("CANCELLED", "its job was cancelled by its own user", node)
    why = f"its job was cancelled by {_describe_user(uid)}"
    return JobEnd("CANCELLED", why, node, by_other=True)


def _describe_user(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (user {uid})"
    except KeyError:
        return f"user {uid}"


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
    end = queue.ended.get(array_job.key(pack, array_job.id))
    if end is None:
        return Ended("", "")
    if end.word == CANCELLED:
        return end  # the accounting may say a moment later by whom
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
        "GPU_FAULT": "a GPU of its node, or the link to another one, is broken",
    }.get(failure, "it took more memory than its job had")


def _generalise(text: str) -> str:
    """Leave out what differs between jobs of one cause: numbers of nodes and jobs, addresses."""
    return re.sub(r"0x[0-9a-f]+|\d+", "#", text)


def _find_last_words(output: str) -> str | None:
    """Return the last line that a job has printed, one of SLURM's own if there is no other."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    own = [line for line in lines if not line.startswith(_OF_SLURM)]
    said = own or lines
    return said[-1][:_MOST_SAID] if said else None


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
