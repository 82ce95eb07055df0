"""The hours of a study on this machine: spent, wasted by class of failure, spared by looks."""

import json

SWEEP = """\
study: cost
workloads: [{name: mine, train: "costs:train", metric: loss, steps: 2}]
candidates: {good: {optimizer: sgd, lr: 0.1}, bad: {optimizer: sgd, lr: 0.9}}
seeds: 2
"""
TRAIN = """\
import time

def train(trial, context):
    time.sleep(0.2)
    context.log(1, loss=0.5)
    if trial.candidate.hyperparameters["lr"] > 0.5:
        raise ValueError("too fast")
    context.log(2, loss=0.4)
"""


def test_what_a_failed_trial_took_is_wasted_and_what_is_left_is_planned(
    thermolion, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "costs.py").write_text(TRAIN)
    sweep = tmp_path / "cost.yaml"
    sweep.write_text(SWEEP)
    assert thermolion("run", sweep).code == 1
    hours = json.loads(thermolion("status", "cost", "--hours", "--json").out)
    assert hours["spent"]["cpu"] >= 4 * 0.2 / 3600
    assert hours["wasted"].keys() == {"USER_ERROR"}
    assert hours["wasted"]["USER_ERROR"]["cpu"] >= 2 * 0.2 / 3600
    assert hours["wasted"]["USER_ERROR"]["cpu"] < hours["spent"]["cpu"]
    assert hours["planned"]["cpu"] > 0
    table = thermolion("status", "cost", "--hours").out
    assert "wasted" in table
    assert "USER_ERROR" in table
