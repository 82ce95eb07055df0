"""Looks on SLURM: a small job decides when a look has ended, and sends the next one."""

import json

from processes import wait_for

SWEEP = """\
study: looks
defaults: {model: {mlp: {hidden: [16]}}, epochs: 1, global_batch: 32, train_images: 128}
workloads: [{dataset: digits}]
candidates:
  one: {optimizer: adamw, lr: 1e-2}
  same: {optimizer: adamw, lr: 1e-2, replica: 1}
baseline: one
seeds: {looks: [2, 3]}
backend: slurm
"""


def test_a_small_job_takes_the_look_and_sends_the_next_one(lab):
    said = lab.call("submit", lab.write(SWEEP, "looks.yaml"))
    assert said.code == 0, said.err
    assert any(name.endswith("-after") for name in lab.squeue())
    decisions = lab.layout("looks").decisions
    wait_for((decisions / "look-2.json").exists, seconds=300)
    lab.await_results("looks", 6)
    first = json.loads((decisions / "look-1.json").read_text())
    assert [first["seeds"], first["open"]] == [2, [["same", "one"]]]
    status = json.loads(lab.call("status", "looks", "--json").out)
    assert status["counts"] == {"completed": 6}
    assert status["stage"]["decided"] == 2
    assert lab.squeue() == []


def test_cancel_stops_the_small_job_as_well(lab):
    said = lab.call("submit", lab.write(SWEEP, "looks.yaml"))
    assert said.code == 0, said.err
    assert lab.call("cancel", "looks").code == 0
    wait_for(lambda: lab.squeue() == [])
    assert not (lab.layout("looks").decisions / "look-2.json").exists()
