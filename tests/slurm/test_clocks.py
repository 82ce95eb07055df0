"""Clocks of nodes that are wrong: what is known of a job does not hang on them."""

import json
import os

from processes import wait_for
from slurm_lab import Lab

from jobs.contract.atomic_write import write_atomically

SWEEP = """\
study: clocks
workloads: [{name: mine, train: "sleeps:train", metric: loss, steps: 1}]
candidates: {a: {optimizer: sgd, lr: 0.1}}
seeds: 1
backend: slurm
"""
SLEEPS = "import time\n\n\ndef train(trial, context):\n    time.sleep(600)\n"


def test_a_job_is_lost_though_its_node_wrote_in_the_future(lab: Lab) -> None:
    (lab.folder / "sleeps.py").write_text(SLEEPS)
    assert lab.call("submit", lab.write(SWEEP, "clocks.yaml")).code == 0
    lab.await_running("clocks", 1)
    (answer,) = lab.layout("clocks").submissions.glob("*/chunks/0.job")
    record = json.loads(answer.read_text())
    write_atomically(answer, json.dumps(record | {"time_s": record["time_s"] + 3600}))
    (log,) = lab.layout("clocks").events.glob("*.jsonl")
    os.kill(json.loads(log.read_text().splitlines()[0])["pid"], 9)
    wait_for(lambda: '"lost"' in lab.call("status", "clocks", "--json").out)
