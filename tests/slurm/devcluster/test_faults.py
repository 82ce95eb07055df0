"""`doctor --simulate`: what sites do to a training is done to a user's own, and it goes on."""

import pytest
from processes import wait_for
from slurm_lab import Lab
from slurm_trainings import SWEEP as ODD

SWEEP = """\
study: tried
workloads: [{dataset: digits, model: {mlp: {hidden: [64]}}, epochs: 20000, global_batch: 64}]
candidates: {adamw: {lr: 1e-3}}
seeds: 1
"""
# A preemption is in tests/docs: the tutorial shows it, of trials that are too short to hit.
FREE = {
    "timeout": "was free after",
    "node-fail": "the job waited again after",
}


@pytest.mark.parametrize("fault", FREE)
def test_a_training_is_struck_and_resumes_and_nothing_is_left_of_it(lab: Lab, fault: str) -> None:
    said = lab.call("doctor", lab.write(SWEEP, "tried.yaml"), "--simulate", fault)
    assert said.code == 0, said.err
    assert said.out.startswith(fault)
    assert FREE[fault] in said.out
    assert "training resumed after" in said.out
    assert lab.squeue() == []
    wait_for(lambda: set(lab.cluster.nodes().values()) == {"idle"})
    assert not list(lab.cluster.paths.folder.glob("simulated-*"))
    assert not lab.layout("tried").folder.exists()  # the user's own study is not touched


def test_no_cluster_that_others_work_on_is_struck(lab: Lab) -> None:
    sweep = lab.write(SWEEP, "tried.yaml")
    conf = lab.folder / "etc" / "slurm.conf"
    conf.parent.mkdir()
    conf.write_text(lab.cluster.paths.slurm_conf.read_text())  # the same, as a site has it
    said = lab.call("doctor", sweep, "--simulate", "preempt", SLURM_CONF=str(conf))
    assert said.code == 2
    assert "only on a cluster that `thermolion cluster up` has made" in said.err
    assert lab.squeue() == []


def test_a_training_that_fails_by_itself_ends_the_drill_at_once(lab: Lab) -> None:
    (lab.folder / "odd.py").write_text('def train(trial, context):\n    raise ValueError("odd")\n')
    sweep = lab.write(ODD, "odd.yaml")
    said = lab.call("doctor", sweep, "--simulate", "preempt")
    assert said.code == 2
    assert "fails before anything is done to it: ValueError: odd" in said.err
    assert lab.squeue() == []
