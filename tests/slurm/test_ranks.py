"""Trials of several ranks, over nodes that are really several to SLURM."""

import json

from slurm_lab import Lab

from tracking.outcomes import read_outcomes

SWEEP = """\
study: ranks
workloads: [{dataset: digits, model: {mlp: {hidden: [32]}}, epochs: 2, global_batch: 64}]
candidates: {adamw: {lr: 1e-2}}
seeds: 1
resources: {nodes: 2, tasks_per_node: 2}
"""


def cold(lab: Lab) -> tuple[object, ...]:
    """Send to SLURM, with a Python that starts as it does for everybody."""
    return "--backend", "slurm", "--site", lab.site(python=None)


def _measured(lab: Lab) -> object:
    (outcome,) = read_outcomes(lab.layout("ranks").events).values()
    return outcome.weights, dict(outcome.metrics), [point.metrics for point in outcome.curve]


def test_two_nodes_of_two_ranks_give_the_bits_of_four_local_ones(lab, tmp_path):
    sent = lab.call("submit", lab.write(SWEEP, "ranks.yaml"), *cold(lab))
    assert sent.code == 0, sent.err
    lab.await_results("ranks", 1)
    (log,) = lab.layout("ranks").events.iterdir()  # rank 0 alone writes
    opened = json.loads(log.read_text().splitlines()[0])
    assert opened["submission"] == "0001"
    here = Lab(lab.cluster, tmp_path / "here")
    here.folder.mkdir()
    local = here.call("submit", here.write(SWEEP, "ranks.yaml"))
    assert local.code == 0, local.err
    here.await_results("ranks", 1)
    assert _measured(lab) == _measured(here)


def test_a_script_for_ranks_asks_for_every_cpu_of_every_rank(lab):
    said = lab.call("plan", lab.write(SWEEP, "ranks.yaml"), "--backend", "slurm")
    assert "#SBATCH --nodes=2" in said.out
    assert "#SBATCH --ntasks-per-node=2" in said.out
    assert "exec srun --ntasks=4 --nodes=2 --cpus-per-task=1" in said.out
