"""Settings for one candidate, without a comparison."""

import json

import pytest

from jobs.contract.layout import Layout
from tracking.outcomes import read_outcomes

# The learning rate decides, the other one hardly; 1e-2 is best on held-out data.
TRAINING = """\
import math

def train(trial, context):
    given = trial.candidate.hyperparameters
    far = abs(math.log10(given["lr"]) + 2)
    for step in (0, 1):
        context.log(step, val=1 / (1 + far) - 0.01 * given["beta"], test=0.5)
"""
SWEEP = """\
study: many
workloads:
  - {name: mine, train: "my_search:train", metric: val, final_metric: test, unit: fraction}
candidates: {ours: {lr: 0.5}, theirs: {lr: 0.5, beta: 0.5}}
baseline: theirs
seeds: {looks: [3, 5]}
"""
SPACE = "{lr: {log: [1e-4, 1]}, beta: {uniform: [0, 0.9]}}"


@pytest.fixture
def lab(tmp_path, monkeypatch):
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "my_search.py").write_text(TRAINING)
    path = folder / "many.yaml"
    path.write_text(SWEEP)
    monkeypatch.chdir(folder)
    return path


def test_the_best_settings_are_told_with_what_matters_and_what_is_next(thermolion, lab, tmp_path):
    lab.write_text(SWEEP + f"tune: {{trials: 4, space: {{'*': {SPACE}}}}}\n")
    text = lab.read_text().replace("{lr: 0.5}", "{}").replace("{lr: 0.5, beta: 0.5}", "{}")
    lab.write_text(text)
    said = thermolion("search", lab, "--candidate", "ours", "--trials", 12, "--search", "optuna")
    assert said.code == 0, said.err
    layout = Layout(tmp_path / "studies", "many-ours")
    outcomes = [*read_outcomes(layout.events).values()]
    tried = [one for one in outcomes if one.trial.phase == "tune"]
    assert {one.trial.candidate.setting_of for one in tried} == {"ours"}
    assert (len(tried), len(outcomes)) == (12, 13)
    best = max(tried, key=lambda one: one.curve[-1].metrics["val"]).trial.candidate
    lines = said.out.splitlines()
    assert lines[0].split() == ["mine:", "setting", "lr", "beta", "val,", "%", "diverged"]
    assert lines[2].split()[:2] == [best.name, f"{best.hyperparameters['lr']:.4g}"]
    assert "and 2 more, in the report" in said.out
    (due,) = (line for line in lines if line.startswith("what the spread is due to: lr "))
    assert int(due.split()[7]) > 50
    assert "on a fresh seed the best one ends at 50.00 %" in said.out
    assert f"next: candidates: {{ours: {{lr: {best.hyperparameters['lr']}, beta" in said.out
    assert (layout.report / "report.html").exists()
    again = thermolion("search", lab, "--candidate", "ours", "--trials", 12, "--search", "optuna")
    assert "everything is done: 13 of 13" in again.err
    more = thermolion("search", lab, "--candidate", "ours", "--trials", 1)
    assert more.code == 2  # what has run would be left behind
    assert not Layout(tmp_path / "studies", "many").folder.exists()


def test_without_a_space_the_published_rate_is_looked_around(thermolion, small):
    said = thermolion("search", small, "--candidate", "adamw", "--trials", 3, "--json")
    assert said.code == 0, said.err
    (found,) = json.loads(said.out)["found"]
    rates = [one["hyperparameters"]["lr"] for one in found["searched"]["settings"]]
    assert len(set(rates)) == 3
    assert all(3.1e-5 < rate < 3.2e-2 for rate in rates)
    assert found["weights"] == {}
    assert 0 < found["fresh"] <= 100
    status = json.loads(thermolion("status", "small-adamw", "--json").out)
    assert status["counts"] == {"completed": 4}


def test_every_point_of_a_grid_is_searched(thermolion, small):
    grid = "candidates.thermolion={noise: false, alignment: [0, 0.5]}"
    space = "{lr: {log: [1e-4, 1e-2]}, eps: {log: [1e-9, 1e-7]}}"
    tune = f"tune={{trials: 2, space: {{thermolion: {space}}}}}"
    words = ("--set", grid, "--set", tune, "--set", "candidates.adamw={}")
    said = thermolion("search", small, "--candidate", "thermolion", "--json", *words)
    assert said.code == 0, said.err
    found = json.loads(said.out)["found"]
    assert len({one["searched"]["candidate"] for one in found}) == len(found) == 2
    assert all(set(one["weights"]) == {"lr", "eps"} for one in found)


WRONG = {
    "--candidate mine": ["--candidate mine", "choose from ours, theirs"],
    "--candidate ours --trials 0": ["trials", "0"],
    "--candidate ours --search grid": ["'grid' is unknown", "sobol"],
    "--candidate ours": ["no published learning rate of 'ours'", "write its `space`"],
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_input_starts_nothing(thermolion, lab, tmp_path, words):
    said = thermolion("search", lab, *words.split())
    assert said.code == 2
    assert all(word in said.err for word in WRONG[words]), said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "studies").exists()
