"""Pilots of the baseline on seeds of their own, and the targets that are made from them."""

import json
from statistics import median

import pytest

from jobs.contract.layout import Layout
from orchestrator.study.study import open_study
from tracking.outcomes import read_outcomes

SWEEP = """\
study: piloted
defaults: {model: {mlp: {hidden: [32]}}, epochs: 2, global_batch: 32, train_images: 256}
workloads: [{dataset: digits}]
candidates:
  ours: {optimizer: thermolion}
  adamw: {lr: 3e-3}
  sgd: {lr: 1e-3}
compare: {candidate: ours, against: [adamw, sgd]}
seeds: 2
pilot: {seeds: 3, quantile: 0.9}
"""


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "piloted.yaml"
    path.write_text(SWEEP)
    return path


def test_targets_are_frozen_from_the_better_baseline_before_anything_is_compared(
    thermolion, sweep, tmp_path
):
    layout = Layout(tmp_path / "studies", "piloted")
    plan = thermolion("plan", sweep).out
    assert "6 = 1 x 3 x 2 (workloads x candidates x seeds), and 6 pilots" in plan
    assert "pilots first: 0 of 6 trials of the baseline have ended" in plan
    said = thermolion("run", sweep)
    assert said.code == 0, said.err
    outcomes = read_outcomes(layout.events)
    pilots = [one for one in outcomes.values() if one.trial.phase == "pilot"]
    compared = [one for one in outcomes.values() if one.trial.phase == "compare"]
    assert (len(pilots), len(compared)) == (6, 6)
    assert {one.trial.candidate.name for one in pilots} == {"adamw", "sgd"}
    seeds = [{s for one in them for s in one.trial.seeds.values()} for them in (pilots, compared)]
    assert not seeds[0] & seeds[1]
    assert max(one.ended_ms for one in pilots) <= min(one.started_ms for one in compared)
    best = {
        name: median(
            max(point.metrics["val_accuracy"] for point in one.curve)
            for one in pilots
            if one.trial.candidate.name == name
        )
        for name in ("adamw", "sgd")
    }
    chance = pilots[0].started["chance"]["val_accuracy"]
    decided = json.loads((layout.decisions / "targets.json").read_text())
    expected = chance + 0.9 * (max(best.values()) - chance)
    assert decided["targets"] == {"digits": pytest.approx(expected)}
    frozen = json.loads((layout.decisions / "analysis.json").read_text())
    assert frozen["analysis"]["targets"] == decided["targets"]
    assert frozen["started"] == 0
    found = json.loads(thermolion("compare", "piloted", "--json").out)
    arms = found["time_to_target"]["arms"]
    assert {arm["target"] for arm in arms} == {decided["targets"]["digits"]}
    assert found["trials"] == 6
    assert found["registration"]["deviations"] == []
    assert f"target {decided['targets']['digits']:.6g}" not in said.err
    page = (layout.report / "report.html").read_text()
    assert "The targets were frozen with the analysis" in page


def test_a_pilot_moves_no_trial_of_the_comparison(sweep, tmp_path):
    with_pilots = open_study(str(sweep), tmp_path / "studies").trials
    sweep.write_text(SWEEP.replace("pilot: {seeds: 3, quantile: 0.9}\n", ""))
    without = open_study(str(sweep), tmp_path / "studies").trials
    assert [one for one in with_pilots if one.phase == "compare"] == list(without)


def test_pilots_need_a_baseline(thermolion, sweep):
    sweep.write_text(SWEEP.replace("compare: {candidate: ours, against: [adamw, sgd]}\n", ""))
    said = thermolion("plan", sweep)
    assert said.code == 2
    assert "pilots are runs of the baseline: name it" in said.err
