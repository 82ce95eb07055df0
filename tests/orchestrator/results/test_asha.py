"""Asynchronous successive halving: a trial ends where others were better, by Optuna's rule."""

import json
from statistics import fmean

import numpy as np
import optuna
import pytest
from search_lab import BEST, search_lab, tried

from jobs.contract.asha import Rungs
from jobs.contract.layout import Layout
from orchestrator.study.trials import plan_trials
from orchestrator.sweep.sweep import read_sweep


@pytest.fixture
def lab(tmp_path, monkeypatch):
    path = search_lab(tmp_path / "lab", "asha", trials="12")
    monkeypatch.chdir(path.parent)
    return path


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "studies", "searched")


class Halving:
    """Optuna's own, to be asked trial by trial."""

    def __init__(self, reduction, lower_is_better=False):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.SuccessiveHalvingPruner(1, reduction, 0)
        direction = "minimize" if lower_is_better else "maximize"
        self._study = optuna.create_study(direction=direction, pruner=pruner)

    def ends_at(self, values_by_rung):
        """Say at which of its rungs, in order, a trial ends; None where it goes on past all."""
        trial = self._study.ask()
        for rung, value in values_by_rung.items():
            trial.report(value, rung)
            if trial.should_prune():
                self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                return rung
        self._study.tell(trial, value)
        return None


@pytest.mark.parametrize("lower_is_better", [True, False])
@pytest.mark.parametrize("reduction", [2, 3, 4])
def test_who_goes_on_is_who_goes_on_in_optuna(reduction, lower_is_better):
    halving, rungs = Halving(reduction, lower_is_better), Rungs((1,), reduction)
    values = np.random.default_rng(0).normal(size=200).round(1)  # ties among them
    for number, value in enumerate(values):
        keeps = rungs.keeps(value, list(values[:number]), lower_is_better)
        assert keeps == (halving.ends_at({1: value}) is None), number


def test_every_trial_ends_where_it_would_in_optuna(thermolion, lab, layout):
    said = thermolion("run", lab, "--lanes", "1")
    assert said.code == 0, said.err
    found = tried(layout)
    assert {at: len(of) for at, of in found.items()} == dict.fromkeys(BEST, 12)
    for at, outcomes in found.items():
        halving = Halving(3)
        for one in sorted(outcomes, key=lambda one: one.started_ms):
            values = {point.step: point.metrics["val"] for point in one.curve}
            far = {rung: values[rung] for rung in (1, 3) if rung in values}
            assert one.rung == halving.ends_at(far), (at, one.trial.candidate.name)
            assert max(values) == (one.rung or 9)
        assert {1, 3, None} == {one.rung for one in outcomes}
    made = json.loads((layout.decisions / "winners.json").read_text())
    for one in made["chosen"]:
        outcomes = found[one["workload"], one["candidate"]]
        whole = [other for other in outcomes if other.rung is None]
        best = max(whole, key=lambda other: other.curve[-1].metrics["val"])
        assert one["setting"] == best.trial.candidate.name
    page = (layout.report / "report.html").read_text()
    assert "ended early, because others were better at a rung" in page
    spent = [part.split(")")[0] for part in page.split(" ended early (")[1:]]
    parts = [fmean(one.part for one in of) for of in found.values()]
    assert sorted(spent) == sorted(f"{100 * part:.0f} % of the budget" for part in parts)
    assert "Expected best of so many settings" not in page
    numbers = (layout.report / "numbers" / "tuning.csv").read_text()
    assert "rung" in numbers.splitlines()[0]
    # None of the comparison is measured at a rung, and no setting is stopped twice.
    assert thermolion("run", lab).err.startswith("everything is done: 56 of 56 trials")


def _planned(lab, *changes):
    """Return the trials of tuning by id, and who they are measured against."""
    trials = plan_trials(read_sweep(lab, changes))
    return {one.id: one.rungs.competitors for one in trials if one.phase == "tune"}


OTHER = 'candidates={"left": {"optimizer": "other"}, "right": {}}'
SPACE = 'tune.space={"*": {"lr": {"log": [1e-6, 1]}, "mode": {"choice": [[1, 0], [0, 1]]}}}'


def test_rivals_are_settings_of_one_search_whatever_it_is_called(lab):
    now = _planned(lab)
    assert len(set(now.values())) == len(BEST)
    assert now.items() < _planned(lab, "tune.trials=20").items()
    renamed = lab.with_name("renamed.yaml")
    renamed.write_text(lab.read_text().replace("left: {}", "west: {optimizer: left}"))
    renamed.write_text(renamed.read_text().replace("baseline: left", "baseline: west"))
    assert _planned(renamed) == now
    for change in (SPACE, "root_seed=1", "tune.reduction_factor=2"):
        assert not set(_planned(lab, change).values()) & set(now.values()), change
    assert len(set(_planned(lab, OTHER).values()) & set(now.values())) == len(BEST) / 2


def test_a_winner_that_ended_early_is_said_to_have(thermolion, lab, layout):
    code = lab.parent / "my_search.py"
    breaks = "        context.log(step, val=math.nan if step == 9 else score"
    code.write_text(code.read_text().replace("        context.log(step, val=score", breaks))
    said = thermolion("run", lab, "--set", "tune.trials=6")
    assert said.code == 0, said.err
    assert "The chosen setting itself ended early" in said.out
    made = json.loads((layout.decisions / "winners.json").read_text())
    assert {one["rung"] for one in made["chosen"]} <= {1, 3}
    assert {one["edge"] for one in made["chosen"]} == {None}


def test_search_stops_early_and_says_how_far_each_came(thermolion, lab):
    lab.write_text(lab.read_text().replace("search: asha", "search: sobol\n  seeds: 3"))
    said = thermolion("search", lab, "--candidate", "left", "--trials", "9", "--search", "asha")
    assert said.code == 0, said.err
    assert "ended early at" in said.out
    assert "on a fresh seed" in said.out
