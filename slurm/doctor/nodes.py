"""Checks by a job what nothing else tells: files seen in time, Python on nodes, ranks that meet.

Sends one small job and waits for it; whatever happens, the job is gone and its folder removed in
the end.
"""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm.commands import ask_if_allowed
from slurm.doctor.accounts import smallest_job_options
from slurm.doctor.diagnostic import Diagnostic, fatal, ok, warning
from slurm.doctor.probe import AGAIN, ANSWER_S, BACK, MEETING_S, READY, TEST, describe_python
from slurm.queue.squeue import read_jobs
from slurm.request import JobResources, probe_request
from slurm.sbatch import SubmitOptions, submit
from slurm.site.site import Site
from slurm.slurm_errors import SlurmError

_LOOK_S = 0.05
_SLOW_S = 60.0  # longer than we wait for files of a job that has ended
_OFF_S = 5.0  # between clocks, before it is worth a word
_ASK_S = 5.0  # between two questions to the queue, of a job that is the only one


@dataclass
class _Job:
    """The doctor's job: the folder of its answers, and if it is still in the queue."""

    id: str
    folder: Path
    every_s: float
    reason: str = ""
    lives: bool = True
    asked: float = 0.0

    def ask_queue(self) -> None:
        """Ask the queue, every few seconds at most."""
        if time.monotonic() - self.asked < self.every_s:
            return
        with contextlib.suppress(SlurmError):
            queue = read_jobs([self.id])
            self.lives = bool(queue.jobs) or queue.trouble is not None
            self.reason = queue.jobs[0].reason if queue.jobs else ""
        self.asked = time.monotonic()

    def await_(self, name: str, seconds: float) -> bool:
        """Wait for a file, shortly after the job's end as well; return True if it came."""
        end = until = time.monotonic() + seconds
        while not (self.folder / name).exists():
            list(self.folder.iterdir())  # has a network file system look anew
            self.ask_queue()  # which may know a job that it did not know before
            until = end if self.lives else min(until, time.monotonic() + _ASK_S)
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK_S)
        return True


def check_nodes(
    site: Site, resources: JobResources, root: Path, wait_s: float
) -> list[Diagnostic]:
    """Send the doctor's job and judge what it leaves; waits `wait_s` for it to start."""
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".doctor-", dir=root))
    words = ["sbatch", "--test-only", *smallest_job_options(site, 0), "--wrap=true"]
    (folder / TEST).write_text(json.dumps({"command": words}))
    try:
        options = SubmitOptions(f"doctor{folder.name[-8:]}", "0-0")
        number = submit(probe_request(folder, resources, site), options, folder / "scripts")
    except SlurmError as error:
        shutil.rmtree(folder)
        return [fatal("nodes", str(error), "mend what it says in the site profile")]
    job = _Job(number, folder, min(site.status_every_s, _ASK_S), asked=time.monotonic())
    try:
        return list(_judge(job, site, resources, wait_s))
    finally:
        ask_if_allowed(["scancel", "--quiet", number])
        shutil.rmtree(folder, ignore_errors=True)


def _judge(job: _Job, site: Site, resources: JobResources, wait_s: float) -> Iterator[Diagnostic]:
    begin = time.monotonic()
    if not job.await_("started", wait_s):
        yield _silence(job, wait_s)
        return
    yield ok("nodes", f"a job of {resources.nodes} started after {time.monotonic() - begin:.0f} s")
    if not job.await_(READY, ANSWER_S):  # Python has loaded torch: from here on, files alone count
        yield fatal("Python", _last_words(job.folder), _PYTHON_STEP)
        return
    sent_s, sent = time.time(), time.monotonic()
    (job.folder / BACK).touch()
    answered = job.await_(AGAIN, ANSWER_S)
    took_s = time.monotonic() - sent
    patience = ANSWER_S + MEETING_S
    if not job.await_("0.json", patience):
        yield fatal("Python", _last_words(job.folder), _PYTHON_STEP)
        return
    if answered:
        yield from _files(job.folder, sent_s, took_s)
    else:
        yield fatal("shared folder", "nodes and login node do not see each other's files", _SHARED)
    came = [n for n in range(resources.tasks) if job.await_(f"{n}.json", patience)]
    records = [json.loads((job.folder / f"{n}.json").read_text()) for n in came]
    if len(records) < resources.tasks:
        text = f"{resources.tasks - len(records)} of {resources.tasks} nodes say nothing"
        yield fatal("nodes", f"{text}: {_last_words(job.folder)}", _PYTHON_STEP)
    yield from _pythons(records)
    yield from _meeting(records)
    yield from _gpus(records, site, resources)
    yield from _submitting(records[0], site)


_PYTHON_STEP = "setup = [module load …, source …/activate] or python = … in the site profile"
_SHARED = "give --root a folder that nodes see, and name it under `shared` in the site profile"


def _silence(job: _Job, wait_s: float) -> Diagnostic:
    if job.lives:
        why = f" ({job.reason})" if job.reason not in ("", "None") else ""
        text = f"the job did not start within {wait_s:.0f} s{why}, and was taken back"
        return warning("nodes", text, "try later, or wait longer with --wait 1h")
    text = f"the job has ended, and nothing of it is seen in {job.folder.parent}"
    return fatal("shared folder", text, _SHARED)


def _files(folder: Path, sent_s: float, took_s: float) -> Iterator[Diagnostic]:
    text = f"a file is seen on the other side after {took_s / 2:.2f} s"
    if took_s / 2 > _SLOW_S:
        yield warning("shared folder", text, "status may call a trial lost before it is seen")
    else:
        yield ok("shared folder", text)
    off_s = json.loads((folder / AGAIN).read_text())["time_s"] - (sent_s + took_s / 2)
    # Which half of the way there and back took the time, nobody knows.
    if abs(off_s) - took_s / 2 > _OFF_S:
        text = f"that of the node is off by {off_s:+.0f} s"
        yield warning("clock", text, "have the site set it: durations are not affected, dates are")
    else:
        yield ok("clock", f"within {max(1.0, abs(off_s) + took_s / 2):.0f} s of this one")


def _pythons(records: Sequence[Mapping[str, Any]]) -> Iterator[Diagnostic]:
    mine = describe_python()
    other = next((one for one in records if any(one[key] != mine[key] for key in mine)), None)
    if other is None:
        who = records[0]["executable"]
        yield ok("Python", f"{mine['python']}, torch {mine['torch']}, as here ({who})")
        return
    unequal = ", ".join(f"{k} {other[k]} (here {mine[k]})" for k in mine if other[k] != mine[k])
    if other["code"] != mine["code"]:
        yield fatal("Python", f"{other['node']}: {unequal}", _PYTHON_STEP)
    else:
        step = "equal bits need equal versions: name the same Python in the site profile"
        yield warning("Python", f"{other['node']}: {unequal}", step)


def _meeting(records: Sequence[Mapping[str, Any]]) -> Iterator[Diagnostic]:
    if len(records) < 2:
        return
    failed = next((one for one in records if "meet" in one["failures"]), None)
    if failed is not None:
        text = f"{failed['node']}: {failed['failures']['meet']}"
        step = "trials of one node work; for more, ask the site which network joins its nodes"
        yield fatal("rendezvous", text, step)
    else:
        took_s = max(one["meet_s"] for one in records)
        yield ok("rendezvous", f"{len(records)} nodes have met after {took_s:.1f} s")


def _gpus(
    records: Sequence[Mapping[str, Any]], site: Site, resources: JobResources
) -> Iterator[Diagnostic]:
    if not resources.gpus_per_node:
        return
    blind = next((one for one in records if not one["gpu"]), None)
    if blind is None:
        yield ok("GPU on nodes", "torch sees the GPU that a job is given")
    elif site.cpu_fallback:
        yield ok("GPU on nodes", "torch sees none: trials run on the CPU (cpu_fallback)")
    else:
        text = f"{blind['node']}: torch {blind['torch']} sees none (given {blind['visible']!r})"
        yield fatal("GPU on nodes", text, "install a torch with CUDA for the driver of the nodes")


def _submitting(first: Mapping[str, Any], site: Site) -> Iterator[Diagnostic]:
    refused = first["failures"].get("sbatch")
    if refused is None:
        yield ok("sending on", "jobs may send jobs: a sweep of any size goes by itself")
    elif site.sbatch_on_nodes:
        step = "sbatch_on_nodes = false in the site profile"
        yield warning("sending on", f"a job may not send jobs: {refused}", step)


def _last_words(folder: Path) -> str:
    output = folder / "output.log"
    text = output.read_text(errors="replace") if output.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # What srun prints in the end is an exit code: the cause stands before it.
    causes = [line for line in lines if not line.startswith("srun: ")]
    return (causes or lines or ["the job has printed nothing"])[-1]
