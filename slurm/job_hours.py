"""The hours that jobs take, of CPUs and of GPUs, as the jobs themselves write them down.

A job appends a line when it begins and one when it leaves, to a file beside its output. One that
is killed leaves none, so that somebody else has to say how long it ran (`slurm.hours_cap`). Asks
SLURM nothing.
"""

import contextlib
import json
import os
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

_KB_IN_MB = 1024
SUFFIX = ".hours"  # N.hours of the first process of job N, N.P.hours of another lane


@dataclass(frozen=True)
class Hours:
    """Hours of CPUs and hours of GPUs."""

    cpu: float = 0.0
    gpu: float = 0.0

    def __add__(self, other: "Hours") -> "Hours":
        return Hours(self.cpu + other.cpu, self.gpu + other.gpu)

    def times(self, factor: float) -> "Hours":
        """Return so many times as much."""
        return Hours(self.cpu * factor, self.gpu * factor)


NO_HOURS = Hours()


@dataclass(frozen=True)
class Allotment:
    """What every job of a submission is given: CPUs and GPUs in all, and its time limit."""

    cpus: int
    gpus: int
    time_min: int | None

    def over(self, seconds: float) -> Hours:
        """Return the hours that so many seconds of a job are."""
        return Hours(self.cpus, self.gpus).times(seconds / 3600)

    @property
    def most(self) -> Hours:
        """The hours of a job that runs until its time limit; none if it has no limit."""
        return self.over(60 * (self.time_min or 0))


@dataclass(frozen=True)
class JobRun:
    """One run of a job, from one start to the next: a job that was requeued has several.

    `seconds` is None until somebody knows them: the job runs, or left no word. `begin_s` is the
    time of its start by the clock of its node. `cpu_s` are the seconds that its CPUs were busy for
    the process that wrote this down, and `memory_mb` the most that it had; None if unknown.
    """

    job: int
    restart: int
    cpus: int
    gpus: int
    node: str | None
    begin_s: float
    seconds: float | None = None
    cpu_s: float | None = None
    memory_mb: float | None = None

    @property
    def hours(self) -> Hours:
        """What it has taken; nothing while that is unknown."""
        return Hours(self.cpus, self.gpus).times((self.seconds or 0.0) / 3600)


@dataclass(frozen=True)
class PackRuns:
    """The runs of the job of a pack, oldest first; `is_over`: it never comes back, by SLURM."""

    runs: Sequence[JobRun] = field(default_factory=list)
    is_over: bool = False


@contextlib.contextmanager
def record_run(
    file: Path, job: int, restart: int, had: tuple[int, int], node: str | None
) -> Iterator[None]:
    """Write down when this process began and how long it has taken once the block ends.

    `had` are the CPUs and GPUs of its job. The process counts from the start of the batch script
    that it has replaced. A disk that is full leaves less to know, and stops nothing.
    """
    begun = _age_s()
    key = {"job": job, "restart": restart}
    begin = {"cpus": had[0], "gpus": had[1], "node": node, "begin_s": time.time() - begun}
    _append(file, key | begin)
    since = time.monotonic()
    try:
        yield
    finally:
        took = {"took_s": round(begun + time.monotonic() - since, 3)}
        _append(file, key | took | _measure_use())


def settle_run(file: Path, run: JobRun) -> None:
    """Write down how long a run took that has left no word."""
    line: dict[str, Any] = {"job": run.job, "restart": run.restart, "took_s": run.seconds}
    begin = {"cpus": run.cpus, "gpus": run.gpus, "node": run.node, "begin_s": run.begin_s}
    _append(file, line | begin)


def close_job(file: Path, job: int) -> None:
    """Write down that a job never comes back."""
    _append(file, {"job": job, "restart": None, "over": True})


def read_runs(files: Sequence[Path]) -> PackRuns:
    """Return the runs of a job by its files, one for each of its lanes."""
    runs: dict[tuple[int, int], JobRun] = {}
    is_over = False
    for number, file in enumerate(sorted(files, key=lambda path: len(path.name))):
        of_lane: dict[tuple[int, int], JobRun] = {}
        for line in _read_lines(file):
            if line.get("restart") is None:
                is_over = True
                continue
            key = line["job"], line["restart"]
            if "begin_s" in line:
                names = ("job", "restart", "cpus", "gpus", "node", "begin_s")
                of_lane[key] = JobRun(**{n: line[n] for n in names}, seconds=line.get("took_s"))
                is_over = False  # whoever has requeued it
            elif key in of_lane:
                of_lane[key] = replace(
                    of_lane[key],
                    seconds=line["took_s"],
                    cpu_s=line.get("cpu_s"),
                    memory_mb=line.get("memory_mb"),
                )
        for key, run in of_lane.items():
            runs[key] = run if number == 0 or key not in runs else _join(runs[key], run)
    ordered = sorted(runs.values(), key=lambda run: (run.job, run.restart))
    return PackRuns(ordered, is_over)


def list_files(output: Path) -> Mapping[int, list[Path]]:
    """Return the files of hours in a folder of outputs, by pack."""
    files: dict[int, list[Path]] = {}
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(output):
            pack = entry.name.partition(".")[0]
            if entry.name.endswith(SUFFIX) and pack.isdecimal():
                files.setdefault(int(pack), []).append(Path(entry.path))
    return files


def hours_file(output: Path, pack: int, lane: int = 0) -> Path:
    """Return the file of hours of a lane of a job."""
    return output / (f"{pack}.{lane}{SUFFIX}" if lane else f"{pack}{SUFFIX}")


def _join(one: JobRun, other: JobRun) -> JobRun:
    """Return a run as both of two lanes have seen it: it lasts until the last of them leaves."""
    begin_s = min(one.begin_s, other.begin_s)
    if one.seconds is None or other.seconds is None:
        return replace(one, begin_s=begin_s, seconds=None)
    return replace(
        one,
        begin_s=begin_s,
        seconds=max(one.seconds, other.seconds),
        cpu_s=_add(one.cpu_s, other.cpu_s),
        memory_mb=_add(one.memory_mb, other.memory_mb),
    )


def _add(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _append(file: Path, line: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as log:
            log.write(json.dumps(line).encode() + b"\n")
            log.flush()
            os.fsync(log.fileno())


def _read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a file; one that was torn by a crash says nothing."""
    try:
        text = file.read_text(errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and "job" in record:
                yield record


def _measure_use() -> dict[str, float]:
    """Return how long CPUs were busy for this process and its children, and its most memory.

    Of several children at a time, the largest counts for all.
    """
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return {
        "cpu_s": round(busy, 2),
        "memory_mb": round((own.ru_maxrss + children.ru_maxrss) / _KB_IN_MB, 1),
    }


def _age_s() -> float:
    """Return the seconds since this process was started, as far as the system tells (Linux).

    A shell that was replaced by `exec` counts, with all that it has done before.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started_s)
    except (AttributeError, OSError, ValueError, IndexError):
        return 0.0
