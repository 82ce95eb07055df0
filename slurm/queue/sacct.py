"""The last word of SLURM's accounting on jobs that squeue has forgotten, if there is any."""

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from slurm.commands import ask, in_batches
from slurm.queue.state_words import BY_NOBODY, Ended, Key, parse_canceller, parse_state
from slurm.slurm_errors import SlurmError

_LATE_S = 1.0
_TIMES = 6
_COMES_BACK = {"BOOT_FAIL", "NODE_FAIL", "PREEMPTED", "REQUEUED"}


class _Line(NamedTuple):
    """One run of a job by sacct: the id that squeue shows, and the number of its own."""

    job: str
    raw: str
    word: str
    nodes: str
    name: str

    @property
    def is_task(self) -> bool:
        """Return True if it is one task of an array; of those that wait there is one line."""
        return "_" in self.job and "[" not in self.job

    @property
    def may_be_back(self) -> bool:
        """Return True if the job may have run again since, for SLURM requeues what ends so."""
        return self.word.partition(" ")[0] in _COMES_BACK


def read_cancellers(keys: Collection[Key]) -> dict[Key, Ended]:
    """Return, of jobs that squeue says were cancelled, those of which sacct says by whom.

    The accounting hears of an end a moment later, so that it is asked for some seconds.
    """
    found: dict[Key, Ended] = {}
    for again in range(_TIMES):
        if again:
            time.sleep(_LATE_S)
        try:
            words = _read(set(keys) - found.keys(), ())
        except SlurmError:
            break  # no sacct, no accounting, or none at the moment
        for key, end in words.items():
            if parse_canceller(end.word) is not None:
                found[key] = end
            elif parse_state(end.word) == "ended":
                found[key] = replace(end, word=BY_NOBODY)
        if len(found) == len(keys):
            break
    return found


def read_last_states(
    keys: Collection[Key], others: Collection[tuple[int, int | None]]
) -> dict[Key, Ended]:
    """Ask sacct for the last word on jobs that squeue has forgotten, all together.

    A job that it knows by another name was renamed, unless its id is by now that of one of the
    `others`, which squeue knows.
    """
    try:
        return _read(keys, others)
    except SlurmError:
        return {}  # no sacct, no accounting, or none at the moment


def _read(keys: Collection[Key], others: Collection[tuple[int, int | None]]) -> dict[Key, Ended]:
    ids = sorted({str(job) for _, job, _ in keys})
    lines = _ask(ids)
    # A task has a number of its own as well, by which alone sacct may name what it did after a
    # requeue; who asks for the array is not told of that.
    numbers = {line.raw: line.job for line in lines if line.is_task}
    last = {line.job: line for line in lines}
    wanted = {f"{job}_{task}" for _, job, task in keys}
    open_ = {line.raw for line in last.values() if line.job in wanted and line.may_be_back}
    if open_:
        lines += _ask(sorted(open_))
    ends: dict[tuple[str, str], Ended] = {}
    renamed: dict[str, Ended] = {}
    sent = {key[0] for key in keys}
    for line in lines:
        job = numbers.get(line.job, line.job)
        job = job.partition("[")[0]  # tasks that wait share a line, such as 17_[2-5]
        name = next((ours for ours in sent if ours in line.name), line.name)
        ends[name, job] = Ended(line.word, "" if line.nodes == "None assigned" else line.nodes)
        renamed[job] = ends[name, job]
    by_key: dict[Key, Ended] = {}
    for key in keys:
        _, array_job, task = key
        single = (f"{array_job}",)
        tasks = single if task is None else (f"{array_job}_{task}", f"{array_job}_")
        found = [ends[key[0], one] for one in tasks if (key[0], one) in ends]
        if not found and key[1:] not in others:
            found = [renamed[one] for one in tasks if one in renamed]
        if found:
            by_key[key] = found[0]
    return by_key


def _ask(ids: Sequence[str]) -> list[_Line]:
    # Of a job that was requeued sacct may show the first end for ever: the last line counts.
    options = ["--noheader", "--parsable2", "--allocations", "--duplicates"]
    options.append("--format=JobID,JobIDRaw,State,NodeList,JobName")
    text = "".join(ask(["sacct", *options, f"--jobs={','.join(b)}"]) for b in in_batches(ids))
    # A name may have many lines.
    parts = ((*line.split("|", 4), *4 * [""])[:5] for line in text.splitlines())
    return [_Line(*of_line) for of_line in parts]
