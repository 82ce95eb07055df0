"""How long jobs have run, by SLURM's own word: by sacct, or by squeue while it remembers them.

Asked only for jobs that left no word of their own.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from slurm.commands import ask, in_batches
from slurm.slurm_errors import SlurmError

_GPUS = re.compile(r"\bgres/gpu=(\d+)")
_CPUS = re.compile(r"\bcpu=(\d+)")
_CLOCK = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)")


@dataclass(frozen=True)
class RunTime:
    """One run of a job: its seconds, and how many CPUs and GPUs it had; None if it is not told.

    A job that was requeued has several.
    """

    seconds: float
    cpus: int | None = None
    gpus: int | None = None


def read_run_times(
    tasks: Collection[str], raw: Mapping[str, str] | None = None
) -> Mapping[str, Sequence[RunTime]]:
    """Return the runs of jobs by the id that squeue shows, such as 17_3, oldest first.

    `raw` has such ids by the number that the job had of its own (SLURM_JOB_ID), as far as it is
    known: sacct may name a requeued task of an array by that alone. A job that nobody remembers
    has no entry. squeue knows the last run of a job alone.
    """
    if not tasks:
        return {}
    ids = sorted({task.partition("_")[0] for task in tasks})
    try:
        accounted = read_accounted(sorted({*ids, *(raw or {})}), raw)
        return {task: runs for task, runs in accounted.items() if task in tasks}
    except SlurmError:
        pass  # no sacct, no accounting, or none at the moment
    try:
        return {task: runs for task, runs in _read_remembered(ids).items() if task in tasks}
    except SlurmError:
        return {}


def read_accounted(
    ids: Sequence[str], raw: Mapping[str, str] | None = None
) -> Mapping[str, Sequence[RunTime]]:
    """Return the runs of all tasks of some jobs by sacct; raises SlurmError without one.

    `raw` is that of `read_run_times`.
    """
    runs: dict[str, dict[str, RunTime]] = {}
    options = ["--noheader", "--parsable2", "--allocations", "--duplicates"]
    options.append("--format=JobID,ElapsedRaw,Start,AllocTRES")
    for batch in in_batches(ids):
        for line in ask(["sacct", *options, f"--jobs={','.join(batch)}"]).splitlines():
            task, elapsed, start, tres = (*line.split("|", 3), *3 * [""])[:4]
            if not elapsed.isdecimal() or not start[:1].isdigit():
                continue  # it waits: of an array, all that wait share a line
            cpus, gpus = _CPUS.search(tres), _GPUS.search(tres)
            told = (int(cpus[1]), int(gpus[1]) if gpus else 0) if cpus else (None, None)
            task = (raw or {}).get(task, task)
            runs.setdefault(task, {})[start] = RunTime(float(elapsed), *told)
    return {task: [of_task[start] for start in sorted(of_task)] for task, of_task in runs.items()}


def _read_remembered(ids: Sequence[str]) -> Mapping[str, Sequence[RunTime]]:
    runs: dict[str, list[RunTime]] = {}
    for batch in in_batches(ids):
        words = ["squeue", "--all", "--array", "--states=all", "--noheader", "--format=%i|%M"]
        for line in ask([*words, f"--jobs={','.join(batch)}"]).splitlines():
            task, _, clock = line.strip().rpartition("|")
            match = _CLOCK.fullmatch(clock)
            if match is not None:
                days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
                whole = ((24 * days + hours) * 60 + minutes) * 60 + seconds
                runs.setdefault(task, []).append(RunTime(float(whole)))
    return runs
