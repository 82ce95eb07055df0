"""The hours of a study: what jobs write down agrees with the accounting, job by job."""

import json
import os
import signal
from collections.abc import Mapping

import pytest
from processes import wait_for
from slurm_lab import Lab
from slurm_trainings import waiting

from tracking.outcomes import read_outcomes


def _hours(lab: Lab, *more: str, **variables: str) -> dict[str, dict[str, dict[str, float]]]:
    said = lab.call("status", "waiting", "--hours", "--json", *more, **variables)
    assert said.code == 0, said.err
    hours: dict[str, dict[str, dict[str, float]]] = json.loads(said.out)
    return hours


def _accounted(lab: Lab, jobs: Mapping[str, object]) -> dict[str, tuple[float, float]]:
    """Return the CPU seconds of jobs by sacct, all of their runs, and how far off one may be."""
    array = int(min(job.partition("_")[0] for job in jobs))
    ids = ",".join(str(array + number) for number in range(len(jobs) + 4))
    fields = ("-X", "-n", "-P", "-D", "-o", "JobIDRaw,JobID,ElapsedRaw,AllocCPUS,End")
    known: dict[str, tuple[float, float]] = {}
    lines = lab.cluster.ask("sacct", *fields, "-j", ids).splitlines()
    # sacct may name a task that was requeued by its own number alone.
    names = dict(line.split("|")[:2] for line in lines if "_" in line and "[" not in line)
    for line in lines:
        raw, job, elapsed, cpus, end = line.split("|")
        if (job := names.get(raw, job)) not in jobs or "[" in line:
            continue  # a small job, or the array itself, as it waits
        assert end != "Unknown"
        seconds, off = known.get(job, (0.0, 0.0))
        here = float(elapsed)
        known[job] = (seconds + here * int(cpus), off + max(1.0, 0.02 * here) * int(cpus))
    return known


def test_the_hours_of_jobs_agree_with_the_accounting_within_a_second_or_two_per_cent(
    limited, warm, tmp_path
):
    lab = Lab(limited, tmp_path, warm)
    waiting(lab)
    site = lab.site(account="lab")
    assert lab.call("submit", "waiting.yaml", "--site", site).code == 0
    lab.await_running("waiting", 2)
    lab.preempt()  # both save, and come back
    reasons = ("squeue", "-h", "-r", "-n", _names(lab), "-o", "%r")
    wait_for(lambda: lab.cluster.ask(*reasons).split() == ["BeginTime"] * 2)
    lab.call("submit", "waiting.yaml", "--site", site)
    lab.await_running("waiting", 2)
    first, second = sorted(
        lab.cluster.ask("squeue", "-h", "-r", "-n", _names(lab), "-o", "%F_%K").split()
    )
    _kill(lab, second)
    wait_for(lambda: second not in lab.cluster.ask("squeue", "-h", "-r", "-o", "%F_%K").split())
    (lab.folder / "go").touch()
    wait_for(lambda: lab.squeue() == [])
    ours = _hours(lab)
    known = _accounted(lab, ours["jobs"])
    assert ours["jobs"].keys() == known.keys() == {first, second}
    for job, (seconds, off) in known.items():
        assert 3600 * ours["jobs"][job]["cpu"] == pytest.approx(seconds, abs=off)
    whole = sum(hours["cpu"] for hours in ours["jobs"].values())
    assert ours["spent"]["cpu"] == pytest.approx(whole)
    assert ours["open_jobs"] == 0
    said = lab.call("status", "waiting", "--hours").out
    assert "start-up" in said


def _names(lab: Lab) -> str:
    """Return the names of the jobs of the study, as squeue takes them."""
    return ",".join(name for name in lab.squeue() if name.startswith("waiting-")) or "none"


def test_a_job_that_nobody_can_tell_of_counts_with_its_time_limit(lab):
    waiting(lab)
    how = ("waiting.yaml", "--site", lab.site(sbatch_on_nodes=False))
    assert lab.call("submit", *how, "--set", "resources.time=10min").code == 0
    lab.await_running("waiting", 2)
    _kill(lab, *_tasks(lab))
    wait_for(lambda: lab.squeue() == [])
    # No accounting, and a squeue that has forgotten how long they ran.
    forgets = 'case "$*" in *"%i|%M"*) exit 0;; esac\nexec REAL "$@"'
    ours = _hours(lab, PATH=lab.stand_in("squeue", forgets))
    assert [round(3600 * job["cpu"]) for job in ours["jobs"].values()] == [600, 600]


def _kill(lab: Lab, *tasks: str) -> None:
    """Kill what trains in some jobs, so that it leaves no word."""
    for outcome in read_outcomes(lab.layout("waiting").events).values():
        if outcome.job["job"] in tasks:
            os.kill(outcome.job["pid"], signal.SIGKILL)


def _tasks(lab: Lab) -> list[str]:
    return lab.cluster.ask("squeue", "-h", "-r", "-o", "%F_%K").split()
