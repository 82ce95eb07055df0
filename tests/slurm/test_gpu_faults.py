"""A broken GPU on a real SLURM: its node is left out and named, and no trial pays for it."""

import json
from pathlib import Path
from typing import Any

from processes import wait_for
from slurm_lab import Lab
from slurm_trainings import script

from orchestrator.backends.records import read_submissions
from tracking.outcomes import read_outcomes

# It fails on the first node that it comes to, as a node with a broken GPU does, and on no other.
TRAIN = """\
import os
from pathlib import Path

BAD = Path("FOLDER/bad-node")

def train(trial, context):
    node = os.environ["NODE_HERE"]
    try:
        with BAD.open("x") as file:
            file.write(node)
    except FileExistsError:
        pass
    context.log(1, loss=0.5)
    if BAD.read_text() == node:
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered\\nCUDA kernel errors")
    context.log(2, loss=0.4)
"""
DIES = """\
import os

def train(trial, context):
    context.log(1, loss=1.0)
    print("NVRM: Xid (PCI:0000:01:00): 79", flush=True)
    os.abort()
"""
# More trials than the circuit breaker takes for a pattern.
SETUP = ["export NODE_HERE=$SLURMD_NODENAME"]  # what a training may ask has none of SLURM's
SWEEP = """\
study: faulty
workloads: [{name: mine, train: "faulty_gpu:train", metric: loss, steps: 2}]
candidates: {a: {optimizer: sgd, lr: 0.1}}
seeds: 5
backend: slurm
pack: {at_least: AT_LEAST, trial_takes: 1s}
failures: {gpu_fault: {retries: 0}}
"""


def _read(lab: Lab) -> list[dict[str, Any]]:
    return [dict(one) for one in json.loads(lab.call("status", "faulty", "--json").out)["trials"]]


def _write(lab: Lab, at_least: str) -> Path:
    (lab.folder / "faulty_gpu.py").write_text(TRAIN.replace("FOLDER", str(lab.folder)))
    return lab.write(SWEEP.replace("AT_LEAST", at_least), "faulty.yaml")


def _await_idle(lab: Lab) -> None:
    wait_for(lambda: not any(name.startswith("faulty-") for name in lab.squeue()), 120)


def test_a_broken_gpu_costs_no_retry_and_its_node_is_left_out_and_named(lab: Lab) -> None:
    sweep = _write(lab, "10min")
    site = lab.site(setup=SETUP)
    assert lab.call("submit", sweep, "--site", site).code == 0
    _await_idle(lab)
    trials = _read(lab)
    node = (lab.folder / "bad-node").read_text()
    # The first trial has met it, and the others of the job did not have to.
    assert [one["class"] for one in trials] == ["GPU_FAULT"] + 4 * [None]
    assert (trials[0]["node"], trials[0]["next"]) == (node, "the next submit sends it")
    said = lab.call("status", "faulty").out
    assert f"[GPU_FAULT on {node}" in said
    assert f"no job goes to {node}" in said
    assert lab.call("submit", sweep, "--site", site).code == 0
    lab.await_results("faulty", 5)
    assert f"#SBATCH --exclude={node}" in script(lab, "faulty", "0002")
    assert len(read_submissions(lab.layout("faulty"))) == 2


def test_broken_gpus_are_outside_the_breaker(lab: Lab) -> None:
    sweep = _write(lab, "0s")
    node = lab.cluster.shape.names[0]
    (lab.folder / "bad-node").write_text(node)
    only_there = lab.site(setup=SETUP, options={"nodelist": node})
    assert lab.call("submit", sweep, "--site", only_there).code == 0
    _await_idle(lab)
    assert [(one["class"], one["node"]) for one in _read(lab)] == 5 * [("GPU_FAULT", node)]
    assert lab.call("submit", sweep, "--site", lab.site(setup=SETUP)).code == 0
    lab.await_results("faulty", 5)
    outcomes = read_outcomes(lab.layout("faulty").events).values()
    assert {len(outcome.attempt_log) for outcome in outcomes} == {2}


def test_a_process_that_dies_of_a_gpu_is_told_by_what_it_has_printed(lab: Lab) -> None:
    sweep = _write(lab, "10min")
    (lab.folder / "faulty_gpu.py").write_text(DIES)
    assert lab.call("submit", sweep).code == 0
    _await_idle(lab)
    first = _read(lab)[0]
    assert (first["class"], first["why"]) == ("GPU_FAULT", "NVRM: Xid (PCI:0000:01:00): 79")
    assert first["node"] in lab.cluster.shape.names
