"""A job that SLURM holds by itself, because a node had not got rid of its last attempt yet."""

import os
import signal

from processes import wait_for
from slurm_lab import Lab

from slurm.devcluster.daemons import processes_with
from tracking.outcomes import read_outcomes

SWEEP = """\
study: stuck
workloads: [{name: mine, train: "stays:train", metric: loss, steps: 1}]
candidates: {a: {optimizer: sgd, lr: 0.1}}
seeds: 1
backend: slurm
pack: {at_least: 0s}
"""
# The first attempt stays until it is killed.
STAYS = """\
import time
from pathlib import Path

def train(trial, context):
    try:
        Path("CAME").touch(exist_ok=False)
        time.sleep(600)
    except FileExistsError:
        context.log(1, loss=1.0)
"""


def test_the_next_submit_frees_it(lab: Lab) -> None:
    (lab.folder / "stays.py").write_text(STAYS.replace("CAME", str(lab.folder / "came")))
    update = ("scontrol", "update")
    lab.cluster.ask(*update, "nodename=n2", "state=drain", "reason=test")
    try:
        sweep = lab.write(SWEEP, "stuck.yaml")
        assert lab.call("submit", sweep).code == 0
        wait_for((lab.folder / "came").exists)
        every = processes_with("SLURM_CONF", str(lab.cluster.paths.slurm_conf))
        steps = [pid for pid, command, _ in every if command.startswith("slurmstepd: [")]
        for step in steps:  # as a node that is too busy to see to the end of a job
            os.kill(step, signal.SIGSTOP)
        lab.cluster.ask(*update, "nodename=n1", "state=down", "reason=test")
        lab.cluster.ask(*update, "nodename=n1", "state=resume")
        (job,) = lab.cluster.ask("squeue", "-h", "-r", "-o", "%F_%K").split()
        lab.cluster.ask(*update, f"jobid={job}", "StartTime=now")
        wait_for(lambda: "held" in lab.cluster.ask("squeue", "-h", "-o", "%r"))
        for step in steps:
            os.kill(step, signal.SIGCONT)
        assert lab.call("submit", sweep).code == 0
    finally:  # SLURM drains the node that was given its job twice
        for node in ("n1", "n2"):
            lab.cluster.ask(*update, f"nodename={node}", "state=resume")
    wait_for(lambda: "BeginTime" in lab.cluster.ask("squeue", "-h", "-o", "%r"))
    assert lab.call("submit", sweep).code == 0  # or it waits, as after every requeue, two minutes
    lab.await_results("stuck", 1)
    (outcome,) = read_outcomes(lab.layout("stuck").events).values()
    assert outcome.state == "completed"
