"""The cap of a study in hours, and what its jobs have spent of it and may still take.

A job that is queued or runs counts with its whole time limit, from its start; one that has ended
counts with what it took. So a study that sends nothing but what fits never passes its cap: not by
requeues, which a job asks about when it starts again, and not by the small jobs that look after
it. If it is unknown how long a job ran that has ended, it counts with its time limit, too.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.contract.atomic_write import write_atomically
from jobs.contract.layout import Layout
from slurm.environment import read_allocation, read_job_id
from slurm.job_hours import (
    NO_HOURS,
    Allotment,
    Hours,
    JobRun,
    PackRuns,
    close_job,
    hours_file,
    list_files,
    read_runs,
    record_run,
    settle_run,
)
from slurm.queue.elapsed import RunTime, read_run_times
from slurm.queue.pack_states import complete_states, read_states
from slurm.queue.squeue import Queue
from slurm.request import Request
from slurm.submission import ArrayJob, SlurmSubmission, read_slurm_submissions

LEAVES_S = 120  # a job that sends others ends itself by then, if there is a cap
_SLACK = 1e-9  # of sums of fractions
_GPUS = re.compile(r"(\d+)$")


@dataclass(frozen=True)
class Cap:
    """The most hours that a study may take, None if there is no limit."""

    gpu_hours: float | None = None
    cpu_hours: float | None = None

    def __bool__(self) -> bool:
        return self.gpu_hours is not None or self.cpu_hours is not None

    def fits(self, hours: Hours) -> bool:
        """Return True if so many hours are within the cap."""
        return _within(hours.gpu, self.gpu_hours) and _within(hours.cpu, self.cpu_hours)

    def count_fitting(self, taken: Hours, each: Hours, wanted: int) -> int:
        """Return how many of the `wanted` jobs of `each` fit beside what is taken."""
        for most, have, one in (
            (self.gpu_hours, taken.gpu, each.gpu),
            (self.cpu_hours, taken.cpu, each.cpu),
        ):
            if most is not None and one > 0:
                wanted = min(wanted, int((most - have) / one + _SLACK))
        return max(0, wanted)

    def describe(self, hours: Hours) -> str:
        """Return hours beside the cap, for people: 3.5 of 40 GPU hours."""
        pairs = ((hours.gpu, self.gpu_hours, "GPU"), (hours.cpu, self.cpu_hours, "CPU"))
        known = ((have, most, unit) for have, most, unit in pairs if most is not None)
        return " and ".join(f"{have:.3g} of {most:g} {unit} hours" for have, most, unit in known)


@dataclass(frozen=True)
class JobLedger:
    """What the jobs of a study have `spent`, and what those that may still run have `reserved`.

    `open_jobs` are these, without the small jobs that look after the study.
    """

    spent: Hours = NO_HOURS
    reserved: Hours = NO_HOURS
    open_jobs: int = 0

    @property
    def taken(self) -> Hours:
        return self.spent + self.reserved


def write_cap(layout: Layout, cap: Cap) -> None:
    """Write down the cap of a study for the jobs that send others, or come back."""
    path = _cap_file(layout)
    if cap:
        record = {"gpu_hours": cap.gpu_hours, "cpu_hours": cap.cpu_hours}
        if read_cap(layout) != cap:
            write_atomically(path, json.dumps(record))
    else:
        path.unlink(missing_ok=True)
        note_cap(layout, None)


def read_cap(layout: Layout) -> Cap:
    """Return the cap of a study, as the last submit has it."""
    try:
        record = json.loads(_cap_file(layout).read_text())
        return Cap(record["gpu_hours"], record["cpu_hours"])
    except FileNotFoundError:
        return Cap()


def describe_cap(cap: Cap, ledger: JobLedger, each: Allotment) -> str:
    """Say why no job is sent any more that may take `each`, and what to do."""
    spent, reserved = cap.describe(ledger.spent), _name(cap, ledger.reserved)
    more = f", {reserved} are reserved by jobs that are queued or run" if ledger.open_jobs else ""
    then = "their ends make room" if ledger.open_jobs else "raise it in `limits`, then submit"
    return (
        f"held at the cap: {spent} are spent{more}; a job may take {_name(cap, each.most)}: {then}"
    )


def note_cap(layout: Layout, text: str | None) -> None:
    """Write down why the cap has no room for something, None once it has."""
    path = _note_file(layout)
    if text is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, f"{text}\n")


def read_cap_note(layout: Layout) -> str | None:
    """Return why the cap of a study has no room for something, None if it has."""
    try:
        return _note_file(layout).read_text().strip()
    except FileNotFoundError:
        return None


def read_allotment(submission: SlurmSubmission, request: Request | None = None) -> Allotment:
    """Return what a job of a submission is given, or another job, by its request."""
    parameters = (request or submission.job).parameters
    extra = parameters["additional_parameters"]
    nodes, tasks = parameters["nodes"], parameters["ntasks_per_node"]
    cpus = nodes * tasks * parameters.get("cpus_per_task", 1)
    gpus = 0
    for option in ("gres", "gpus", "gpus-per-node"):
        if (number := _GPUS.search(str(extra.get(option, "")))) is not None:
            gpus = int(number[1]) * (1 if option == "gpus" else nodes)
    if submission.allotted is not None and request is None:
        cpus, gpus = submission.allotted
    return Allotment(cpus, gpus, _minutes(parameters.get("time")))


def read_pack_runs(submission: SlurmSubmission) -> Mapping[int, PackRuns]:
    """Return the runs of all packs of a submission that have written anything."""
    files = list_files(submission.folder / "output")
    return {pack: read_runs(of_pack) for pack, of_pack in files.items()}


def read_ledger(submissions: Sequence[SlurmSubmission], leaving: int | None = None) -> JobLedger:
    """Add up what the jobs of a study have taken and may take, by its files alone.

    `leaving` is the job that sends others and calls this: it ends within `LEAVES_S`.
    """
    spent = reserved = NO_HOURS
    open_jobs = 0
    for submission in submissions:
        allotted = read_allotment(submission)
        runs = read_pack_runs(submission)
        every = [run for pack in runs.values() for run in pack.runs]
        # A site that hands out whole nodes gives more than was asked for.
        given = Allotment(
            max([allotted.cpus, *(run.cpus for run in every)]),
            max([allotted.gpus, *(run.gpus for run in every)]),
            allotted.time_min,
        )
        states = read_states(submission)
        for pack in submission.array_jobs.by_pack():
            of_pack = runs.get(pack, PackRuns())
            spent = sum((bound_run(run, of_pack, given) for run in of_pack.runs), spent)
            if _may_run(of_pack, has_ended=states[pack] == "ended"):
                reserved, open_jobs = reserved + given.most, open_jobs + 1
    for helper in _read_helpers(submissions):
        last = helper.runs.runs[-1] if helper.runs.runs else None
        if last is not None and last.seconds is not None:
            spent += last.hours
        elif last is not None and helper.job == leaving:
            reserved += helper.allotted.over(time.time() - last.begin_s + LEAVES_S)
        else:
            reserved += helper.allotted.most
    return JobLedger(spent, reserved, open_jobs)


def bound_run(run: JobRun, of_pack: PackRuns, given: Allotment) -> Hours:
    """Return what a run has taken at most; nothing of the last one, as long as it may run."""
    if run.seconds is not None:
        return run.hours
    if run is of_pack.runs[-1] and not of_pack.is_over:
        return Hours()
    later = [other for other in of_pack.runs if other.begin_s > run.begin_s]
    most_s = 60.0 * (given.time_min or 0)
    if later and later[0].node == run.node:  # the clocks of two nodes may differ
        most_s = min(most_s, later[0].begin_s - run.begin_s)
    return Hours(run.cpus, run.gpus).times(most_s / 3600)


def may_start_again(layout: Layout, running: tuple[Path, int, float] | None = None) -> bool:
    """Return True if a job fits the cap that comes back, and reserves its time limit again.

    `running` names a job that has not left yet by its folder of outputs and its pack, and how many
    seconds it has run.
    """
    cap = read_cap(layout)
    if not cap:
        return True
    taken = read_ledger(read_slurm_submissions(layout)).taken
    if running is not None:
        output, pack, seconds = running
        for run in read_runs([hours_file(output, pack)]).runs[-1:]:
            taken += Hours(run.cpus, run.gpus).times(seconds / 3600)
    return cap.fits(taken)


def settle(submissions: Sequence[SlurmSubmission], queue: Queue) -> None:
    """Write down how long jobs ran that have ended and left no word, by SLURM's, if it has one.

    SLURM is asked once for all of them. The caller holds the study's lock.
    """
    left = list(_list_silent(submissions, queue))
    tasks = {array_job.task_id(pack, array_job.id or 0) for _, array_job, pack, _ in left}
    helpers = [one for one in _read_helpers(submissions) if one.has_left_no_word(queue)]
    raw = {
        str(run.job): array_job.task_id(pack, array_job.id or 0)
        for _, array_job, pack, of_pack in left
        for run in of_pack.runs
    }
    told = read_run_times(tasks | {str(one.job) for one in helpers}, raw)
    for submission, array_job, pack, of_pack in left:
        task = array_job.task_id(pack, array_job.id or 0)
        _settle_pack(submission, array_job, pack, of_pack, told.get(task, ()))
    for one in helpers:
        for run in told.get(str(one.job), ())[-1:]:
            cpus = run.cpus or one.allotted.cpus
            settled = JobRun(one.job, 0, cpus, run.gpus or 0, None, 0.0, run.seconds)
            settle_run(one.file, settled)


def _list_silent(
    submissions: Sequence[SlurmSubmission], queue: Queue
) -> Iterator[tuple[SlurmSubmission, ArrayJob, int, PackRuns]]:
    """Yield the packs whose jobs have ended for good, and whose files do not say all of it."""
    for submission in submissions:
        known, runs = read_states(submission), read_pack_runs(submission)
        states = complete_states(submission, known, queue)
        for pack, array_job in submission.array_jobs.by_pack().items():
            of_pack = runs.get(pack, PackRuns())
            if array_job.id is None or states[pack] != "ended" or of_pack.is_over:
                continue
            is_open = any(run.seconds is None for run in of_pack.runs)
            # Of a job with an exit code the files say all, if it has closed them.
            living = array_job.key(pack, array_job.id) in queue.by_key
            if (known[pack] is None or is_open or not of_pack.runs) and not living:
                yield submission, array_job, pack, of_pack


def _settle_pack(
    submission: SlurmSubmission,
    array_job: ArrayJob,
    pack: int,
    of_pack: PackRuns,
    told: Sequence[RunTime],
) -> None:
    given, job = read_allotment(submission), array_job.id or 0
    file = hours_file(submission.folder / "output", pack)
    runs = list(of_pack.runs)
    if told and len(told) >= len(runs):
        for number, run in enumerate(told):
            if number < len(runs) and runs[number].seconds is not None:
                continue
            base = runs[number] if number < len(runs) else JobRun(job, number, 0, 0, None, 0.0)
            cpus = run.cpus if run.cpus is not None else base.cpus or given.cpus
            gpus = run.gpus if run.gpus is not None else base.gpus or given.gpus
            settle_run(file, replace(base, cpus=cpus, gpus=gpus, seconds=run.seconds))
    elif told and runs and runs[-1].seconds is None:
        settle_run(file, replace(runs[-1], seconds=told[-1].seconds))
    elif not (told or runs) and read_cap(submission.layout) and _has_begun(submission, pack):
        # Nobody says how long it ran, and a cap is not passed.
        most_s = 60.0 * (given.time_min or 0)
        settle_run(file, JobRun(job, 0, given.cpus, given.gpus, None, 0.0, most_s))
    close_job(file, job)


def _has_begun(submission: SlurmSubmission, pack: int) -> bool:
    """Return True if the job of a pack could print."""
    return submission.layout.job_output(submission.id, pack).exists()


def read_job_hours(submissions: Sequence[SlurmSubmission]) -> Mapping[str, Hours]:
    """Return what each job has taken, small ones included, by the id that squeue shows."""
    taken: dict[str, Hours] = {}
    for submission in submissions:
        array_jobs, given = submission.array_jobs.by_pack(), read_allotment(submission)
        for pack, of_pack in read_pack_runs(submission).items():
            if of_pack.runs and (array_job := array_jobs.get(pack)) is not None:
                hours = (bound_run(run, of_pack, given) for run in of_pack.runs)
                job = array_job.task_id(pack, array_job.id or of_pack.runs[0].job)
                taken[job] = sum(hours, NO_HOURS)
    for helper in _read_helpers(submissions):
        taken[str(helper.job)] = sum((run.hours for run in helper.runs.runs), NO_HOURS)
    return taken


def _may_run(of_pack: PackRuns, has_ended: bool) -> bool:
    """Return True unless the job of a pack is known to run never again."""
    if of_pack.is_over:
        return False
    return not has_ended or any(run.seconds is None for run in of_pack.runs[-1:])


@dataclass(frozen=True)
class _Helper:
    """A small job that looks after the study: its id, name and hours."""

    job: int
    name: str
    file: Path
    allotted: Allotment
    runs: PackRuns

    def has_left_no_word(self, queue: Queue) -> bool:
        closed = self.runs.runs and self.runs.runs[-1].seconds is not None
        return not closed and self.job in queue.known and self.job not in queue.ids(self.name)


def note_helper(submission: SlurmSubmission, job: int, name: str, request: Request) -> None:
    """Write down that a small job was sent, which is paid for as well."""
    allotted = read_allotment(submission, request)
    record = {"name": name, "cpus": allotted.cpus, "time_min": allotted.time_min}
    path = helper_file(submission.layout, job).with_suffix(".json")
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, json.dumps(record))


def helper_file(layout: Layout, job: int) -> Path:
    """Return the file of the hours of a small job that looks after a study."""
    return layout.folder / "helpers" / f"{job}.hours"


@contextlib.contextmanager
def record_helper(layout: Layout) -> Iterator[None]:
    """Write down what a small job takes that looks after a study, if this process is one."""
    job = read_job_id(os.environ)
    if job is None:
        yield
        return
    had, node = read_allocation(os.environ), os.environ.get("SLURMD_NODENAME")
    with record_run(helper_file(layout, job), job, 0, had, node):
        yield


def _read_helpers(submissions: Sequence[SlurmSubmission]) -> Iterator[_Helper]:
    if not submissions:
        return
    layout = submissions[0].layout
    for path in sorted(helper_file(layout, 0).parent.glob("*.json")):
        file = path.with_suffix(".hours")
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            record = json.loads(path.read_text())
            allotted = Allotment(record["cpus"], 0, record["time_min"])
            yield _Helper(int(path.stem), record["name"], file, allotted, read_runs([file]))


def _name(cap: Cap, hours: Hours) -> str:
    """Return hours of the units that are capped."""
    pairs = ((hours.gpu, cap.gpu_hours, "GPU"), (hours.cpu, cap.cpu_hours, "CPU"))
    return " and ".join(
        f"{have:.3g} {unit} hours" for have, most, unit in pairs if most is not None
    )


def _minutes(time: object) -> int | None:
    return int(time) if isinstance(time, int | str) and str(time).isdecimal() else None


def _within(have: float, most: float | None) -> bool:
    return most is None or have <= most + _SLACK


def _note_file(layout: Layout) -> Path:
    return layout.folder / "cap.held"


def _cap_file(layout: Layout) -> Path:
    return layout.folder / "cap.json"
