"""A Ray of its own within one SLURM job, on two nodes that have their own addresses."""

import json
import sys
from pathlib import Path

import pytest
from processes import wait_for
from ray_head import processes_of, require_ray
from slurm_lab import Lab
from slurm_trainings import WAITS

from jobs.contract.layout import Layout
from orchestrator.backends.records import read_submissions
from tracking.outcomes import Outcome, read_outcomes

SWEEP = """\
study: small
workloads: [{name: mine, train: "waits:train", metric: loss}]
candidates: {a: {optimizer: sgd, lr: 0.1}, b: {optimizer: sgd, lr: 0.2}}
baseline: a
seeds: 2
backend: ray
ray: {on: slurm, nodes: 2, cpus_per_node: 1}
"""


SITE = ("--site", "site.toml")
# The nodes of the cluster are one host: each is given an address of its own.
ADDRESSED = """\
#!/bin/bash
export THERMOLION_NODE_ADDRESS=127.0.1.${{SLURMD_NODENAME#n}}
exec {python} "$@"
"""


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """A lab whose nodes have addresses of their own; what they start has loaded nothing yet."""
    require_ray()
    python = lab.folder / "python"
    python.write_text(ADDRESSED.format(python=sys.executable))
    python.chmod(0o755)
    lab.site(python=str(python), grace="90s")
    return lab


def _results(layout: Layout) -> dict[str, object]:
    return {
        trial: (o.state, o.weights, o.metrics, [(p.step, p.metrics) for p in o.curve])
        for trial, o in read_outcomes(layout.events).items()
    }


def _run_out_of_time(lab: Lab) -> None:
    """Have the time of the job end in a moment, and that of its next run late."""
    (job,) = lab.cluster.ask("squeue", "-h", "-t", "R", "-o", "%A").split()
    ran = lab.cluster.ask("squeue", "-h", "-j", job, "-o", "%M").strip()
    minutes = int(ran.split(":")[0]) + 2
    lab.cluster.ask("scontrol", "update", f"jobid={job}", f"TimeLimit={minutes}")
    wait_for(lambda: [o.attempt_log[0].end for o in _begun(lab)] == ["interrupted"] * 2, 180)
    lab.cluster.ask("scontrol", "update", f"jobid={job}", "TimeLimit=20")


WAYS = {"preempted": Lab.preempt, "out of time": _run_out_of_time}


def _begun(lab: Lab) -> list[Outcome]:
    return [o for o in read_outcomes(lab.layout().events).values() if o.attempts]


@pytest.mark.parametrize("way", WAYS)
def test_a_ray_on_two_nodes_that_has_to_stop_saves_and_comes_back(lab: Lab, way: str) -> None:
    go = lab.folder / "go"
    (lab.folder / "waits.py").write_text(WAITS.replace("GO", str(go)))
    said = lab.call("submit", lab.write(SWEEP), *SITE, "--set", "resources.time=20min")
    assert said.code == 0, said.err
    assert "4 trials in 4 packs, 2 at a time" in said.out
    lab.await_running("small", 2)
    (job,) = lab.layout().submissions.glob("*-job")
    temp = json.loads((lab.layout().submission("0001") / "ray.json").read_text())["temp"]
    assert {_listens_as(pid) for pid in processes_of(temp)} >= {"127.0.1.1", "127.0.1.2"}
    WAYS[way](lab)
    wait_for(lambda: [o.attempt_log[0].end for o in _begun(lab)] == ["interrupted"] * 2, 180)
    # It knows of its time what it was given at its start, so both look like a preemption.
    assert [o.attempt_log[0].kind for o in _begun(lab)] == ["PREEMPTED"] * 2
    wait_for(lambda: not processes_of(temp))
    wait_for(lambda: not Path(temp).exists())  # it goes once nobody uses it

    go.touch()
    lab.await_results("small", 4)
    assert len(read_submissions(lab.layout())) == 1
    attempts = [outcome.attempts for outcome in read_outcomes(lab.layout().events).values()]
    assert sorted(attempts) == [1, 1, 2, 2]
    assert not list(job.glob("*.meet"))
    assert "4 completed" in lab.call("status", "small").out


def _listens_as(pid: int) -> str:
    """Return the address by which a raylet is known, empty for any other process."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return next((w.partition("=")[2] for w in words if w.startswith("--node_ip_address=")), "")


def test_nodes_that_do_not_come_in_time_are_named(lab: Lab) -> None:
    (lab.folder / "waits.py").write_text(WAITS)
    said = lab.call("submit", lab.write(SWEEP), *SITE, "--set", "ray.nodes_within=1s")
    assert said.code == 0, said.err
    wait_for(lambda: lab.squeue() == [], 240)
    said = lab.call("status", "small")
    assert "1 of 2 nodes have not joined the Ray of this job within 1 s: n2" in said.out


def test_cancel_stops_the_job_and_the_plan_shows_it(lab: Lab) -> None:
    (lab.folder / "waits.py").write_text(WAITS)
    sweep = lab.write(SWEEP)
    plan = lab.call("plan", sweep, *SITE)
    assert "#SBATCH --nodes=2" in plan.out, plan.err
    assert "orchestrator.backends.ray.allocation_node" in plan.out
    lab.call("submit", sweep, *SITE)
    assert "1 submission stopped" in lab.call("cancel", "small").out
    assert lab.squeue() == []
    assert "4 waiting" in lab.call("status", "small").out
    small = lab.call("submit", sweep, *SITE, "--set", "resources.cpus_per_task=2")
    assert small.code == 2
    assert "raise ray.nodes or ray.cpus_per_node" in small.err
