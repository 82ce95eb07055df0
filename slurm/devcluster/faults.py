"""Injects the faults of sites into a job, on a cluster that `thermolion cluster up` has made.

Knows jobs and nodes, not trials. Whatever it does to the cluster is undone.
"""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slurm.devcluster.cluster import Cluster, read_cluster
from slurm.devcluster.daemons import processes_with
from slurm.slurm_errors import SiteError, SlurmError
from slurm.waiting import poll

Fault = Literal["preempt", "timeout", "node-fail"]
_PATIENCE_S = 180.0
_LOOK_S = 0.1


@dataclass(frozen=True)
class Victim:
    """One running array task, as scontrol names it, and its node."""

    task: str
    node: str


def cluster_here() -> Cluster:
    """Return the cluster that SLURM_CONF names; raises SiteError unless it is one to play with."""
    conf = os.environ.get("SLURM_CONF")
    cluster = None if conf is None else read_cluster(Path(conf).absolute().parents[1])
    if cluster is None or conf is None or not cluster.paths.slurm_conf.samefile(conf):
        raise SiteError(
            "faults are simulated only on a cluster that `thermolion cluster up` has made: here "
            f"SLURM_CONF is {conf!r}; bring one up, and set what it prints"
        )
    if not all(cluster.states().values()):
        raise SiteError(f"the cluster in {cluster.paths.folder} is not up: thermolion cluster up")
    return cluster


def find_victim(cluster: Cluster, task: str) -> Victim | None:
    """Return a running task with its node, None if it does not run."""
    state, _, node = cluster.ask("squeue", "-h", "-r", "-j", task, "-o", "%T %N").partition(" ")
    return Victim(task, node.strip()) if state == "RUNNING" else None


@contextlib.contextmanager
def inject_fault(cluster: Cluster, what: Fault, victim: Victim) -> Iterator[float]:
    """Inject a fault into a task; yield the seconds until its node was free, then tidy up.

    A node that has died is not free: of `node-fail` it is the time until the job waits again.
    """
    acts: Mapping[Fault, Callable[[Cluster, Victim], float]] = {
        "preempt": _preempt,
        "timeout": _time_out,
        "node-fail": _fail,
    }
    limit = _field(cluster, victim.task, "TimeLimit")
    try:
        yield acts[what](cluster, victim)
    finally:
        if what == "timeout":  # or it would be over again a minute after it goes on
            cluster.ask("scontrol", "update", f"jobid={victim.task}", f"TimeLimit={limit}")


def _preempt(cluster: Cluster, victim: Victim) -> float:
    """Have a job of the partition `urgent` take the whole node."""
    with tempfile.TemporaryDirectory(dir=cluster.paths.folder) as folder:
        mark = Path(folder) / "began"
        begin = time.time()
        cluster.ask(
            *("sbatch", "--partition=urgent", "--exclusive", f"--nodelist={victim.node}"),
            *("--output=/dev/null", "--job-name=simulated-preemption"),
            f"--wrap=date +%s.%N > {mark}.new && mv {mark}.new {mark}",
        )
        _await(mark.exists, "the other job does not begin")
        return float(mark.read_text()) - begin


def _time_out(cluster: Cluster, victim: Victim) -> float:
    """Set the limit so low that the time is nearly over: SLURM finds out within a minute."""
    cluster.ask("scontrol", "update", f"jobid={victim.task}", "TimeLimit=1")
    begin = time.monotonic()
    _await(lambda: find_victim(cluster, victim.task) is None, "its time is not over")
    return time.monotonic() - begin


def _fail(cluster: Cluster, victim: Victim) -> float:
    """Let the node's daemon and all processes of the job die."""
    job = _field(cluster, victim.task, "JobId")
    begin = time.monotonic()
    cluster.daemons.stop(f"slurmd.{victim.node}")
    wanted = f"\0SLURM_JOB_ID={job}\0".encode()
    for pid, command, variables in processes_with("SLURM_CONF", str(cluster.paths.slurm_conf)):
        is_step = command.startswith(f"slurmstepd: [{job}.")  # it would tell of the end later on
        if is_step or (wanted in b"\0" + variables + b"\0" and pid != os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    node = f"nodename={victim.node}"
    cluster.ask("scontrol", "update", node, "state=down", "reason=simulated")
    try:
        _await(lambda: find_victim(cluster, victim.task) is None, "its job does not end")
        return time.monotonic() - begin
    finally:
        cluster.up()
        cluster.ask("scontrol", "update", node, "state=resume")


def _field(cluster: Cluster, task: str, name: str) -> str:
    words = cluster.ask("scontrol", "show", "job", task).split()
    return next((word.partition("=")[2] for word in words if word.startswith(f"{name}=")), "")


def _await(condition: Callable[[], bool], what: str) -> None:
    if not poll(condition, _PATIENCE_S, _LOOK_S):
        raise SlurmError(f"{what} within {_PATIENCE_S:.0f} s: look with squeue and sinfo")
