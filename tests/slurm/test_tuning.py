"""Tuning on SLURM: small jobs take its decisions, and the same settings win as on this machine."""

import json

from processes import wait_for

from tracking.outcomes import read_outcomes

SWEEP = """\
study: tuned
defaults: {model: {mlp: {hidden: [16]}}, epochs: 2, global_batch: 32, train_images: 128}
workloads: [{dataset: digits}]
candidates: {adamw: {}, lion: {}}
baseline: adamw
seeds: 2
tune: {trials: 2}
"""


def test_the_phases_chain_and_end_with_the_same_winners_and_bits_as_here(lab):
    here = lab.write(SWEEP.replace("study: tuned", "study: here"), "here.yaml")
    said = lab.call("run", here)
    assert said.code == 0, said.err
    said = lab.call("submit", lab.write(SWEEP, "tuned.yaml"), "--set", "backend=slurm")
    assert said.code == 0, said.err
    assert any(name.endswith("-after") for name in lab.squeue())
    trials = read_outcomes(lab.layout("here").events)
    wait_for((lab.layout("tuned").decisions / "winners.json").exists, seconds=300)
    lab.await_results("tuned", len(trials))
    chosen = [_chosen(lab.layout(study)) for study in ("here", "tuned")]
    assert chosen[0] == chosen[1]
    assert {search for _, search in chosen[0]} == {0, 1}
    others = read_outcomes(lab.layout("tuned").events)
    assert {one: trial.weights for one, trial in trials.items()} == {
        one: trial.weights for one, trial in others.items()
    }
    assert {trial.trial.phase for trial in others.values()} == {"tune", "compare"}
    assert all(trial.attempts == 1 for trial in others.values())


def _chosen(layout):
    """What each search has chosen for each candidate, whichever file it was decided in."""
    records = [json.loads(path.read_text()) for path in layout.decisions.glob("winners*.json")]
    return {
        (one["candidate"], one["search"]): one["values"]
        for record in records
        for one in record["chosen"]
    }
