"""Clocks of nodes that are wrong: what is known of a job does not hang on them."""

import json
import os

from processes import wait_for
from slurm_lab import Lab
from slurm_trainings import odd

from jobs.contract.atomic_write import write_atomically

SLEEPS = "import time\n\n\ndef train(trial, context):\n    time.sleep(600)\n"


def test_a_job_is_lost_though_its_node_wrote_in_the_future(lab: Lab) -> None:
    sweep, _ = odd(lab, SLEEPS)
    assert lab.call("submit", sweep).code == 0
    lab.await_running("odd", 1)
    (answer,) = lab.layout("odd").submissions.glob("*/chunks/0.job")
    record = json.loads(answer.read_text())
    write_atomically(answer, json.dumps(record | {"time_s": record["time_s"] + 3600}))
    (log,) = lab.layout("odd").events.glob("*.jsonl")
    os.kill(json.loads(log.read_text().splitlines()[0])["pid"], 9)
    wait_for(lambda: '"lost"' in lab.call("status", "odd", "--json").out)
