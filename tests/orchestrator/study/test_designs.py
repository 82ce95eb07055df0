"""What a plan says of other designs: searches, seeds, their power and their price."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t
from sweep_text import sweep_text as _sweep

from orchestrator.study.design_power import Design, power
from orchestrator.study.designs import ASSUMED, measure_share
from orchestrator.study.trials import plan_trials
from orchestrator.sweep.sweep import read_sweep
from tracking.outcomes import Outcome
from tracking.stats.variance_components import Components, estimate_components

_PAIR = "candidates: {adamw: {}, lion: {}}\nbaseline: adamw"
_TUNED = {"analysis": "analysis: {endpoints: [val_auc]}", "tune": "tune: {trials: 8}"}


def _workloads(count: int) -> str:
    entries = ", ".join(
        f"{{train: 'lab:train', metric: loss, goal: min, name: w{n}, options: {{n: {n}}}}}"
        for n in range(count)
    )
    return f"workloads: [{entries}]"


def _by_size(found):
    return {(one["searches"], one["seeds"]): one for one in found["designs"]}


def test_a_tuned_plan_has_one_three_and_five_searches_more_seeds_and_the_cheapest(
    thermolion, tmp_path, planned
):
    found = planned(_sweep(_PAIR, seeds="seeds: 5", workloads=_workloads(4), **_TUNED))
    designs = _by_size(found)
    cheapest = next(one for one in found["designs"] if one["is_cheapest"])
    assert {(1, 5), (3, 5), (5, 5), (5, 10)} <= designs.keys()
    assert designs[5, 5]["is_own"]
    assert [designs[k, 5]["tuning"] for k in (1, 3, 5)] == [4 * 2 * 8 * k for k in (1, 3, 5)]
    assert {one["comparison"] for one in designs.values() if one["seeds"] == 5} == {4 * 2 * 5}
    assert cheapest["power"] >= 0.8
    said = thermolion("plan", tmp_path / "sweep.yaml").out
    assert "the cheapest of 80 %" in said
    assert "of the settings alone" in said
    assert "50% of its variance being the search's (as assumed before there are results)" in said


def test_no_design_of_less_trials_has_the_power_of_the_cheapest(planned):
    found = planned(_sweep(_PAIR, seeds="seeds: 5", workloads=_workloads(2), **_TUNED))
    cheapest = next(one for one in found["designs"] if one["is_cheapest"])
    least = cheapest["tuning"] + cheapest["comparison"]
    able = [
        2 * 2 * (8 * searches + searches * each)
        for searches, each in itertools.product(range(3, 20), range(1, 8))
        if Design((searches,), 2).power(1 / (0.5 + 0.5 / each) ** 0.5) >= 0.8
    ]
    assert least == min(able)


@pytest.mark.parametrize(("searches", "seeds", "workloads"), [(3, 12, 4), (5, 5, 1), (5, 8, 2)])
def test_the_power_of_a_tuned_plan_is_that_of_simulated_searches(
    planned, searches, seeds, workloads
):
    tune = f"tune: {{trials: 8, repeats: {searches}}}"
    changes = _TUNED | {"tune": tune, "workloads": _workloads(workloads)}
    sweep = _sweep(_PAIR, seeds=f"seeds: {seeds}", **changes)
    found = planned(sweep, "--effect", 0.8)
    random, shape = np.random.default_rng(0), (4000, workloads, searches)
    each = np.bincount(np.arange(seeds) % searches)
    d = 0.8 + 0.5**0.5 * random.normal(size=shape)
    d += 0.5**0.5 * random.normal(size=shape) / each**0.5
    variances = d.var(axis=2, ddof=1) / searches
    total = variances.sum(axis=1)
    df = total**2 / (variances**2 / (searches - 1)).sum(axis=1)
    p = 2 * t.sf(np.abs(d.mean(axis=2).sum(axis=1)) / np.sqrt(total), df)
    assert found["claims"]["power_level_a"] == pytest.approx((p <= 0.05).mean(), abs=0.03)
    own = _by_size(found)[searches, seeds]
    assert own["power"] == pytest.approx(found["claims"]["power_level_a"])


def test_a_plan_with_one_search_says_that_sentences_will_name_settings(thermolion, tmp_path):
    path = tmp_path / "sweep.yaml"
    once = _TUNED | {"tune": "tune: {trials: 8, repeats: 1}"}
    path.write_text(_sweep(_PAIR, seeds="seeds: 5", **once))
    said = thermolion("plan", path).out
    assert "sentences name the settings that it has found and not the optimizers" in said
    path.write_text(_sweep(_PAIR, seeds="seeds: 5", **_TUNED))
    said = thermolion("plan", path).out
    assert "sentences name the settings" not in said
    assert "5 searches on 5 seeds find on this workload" in said


def test_a_tuned_plan_by_looks_has_a_search_for_each_block_or_one(planned):
    looks = {"seeds": "seeds: {looks: [3, 5, 8]}"}
    found = planned(_sweep(_PAIR, **_TUNED | looks))
    assert found["claims"]["of_searches"]
    assert {(1, 8), (8, 8)} <= _by_size(found).keys()
    assert _by_size(found)[8, 8]["power"] == found["claims"]["power_level_a"]


def test_a_plan_that_is_not_tuned_says_how_many_seeds_the_effect_takes(
    thermolion, tmp_path, planned
):
    found = planned(_sweep(_PAIR, seeds="seeds: 5"), "--effect", 0.7)
    (cheapest,) = [one for one in found["designs"] if one["is_cheapest"]]
    seeds = cheapest["seeds"]
    assert power(0.7, seeds, alpha=0.025) >= 0.8 > power(0.7, seeds - 1, alpha=0.025)
    said = thermolion("plan", tmp_path / "sweep.yaml", "--effect", 0.7).out
    assert f"to find 0.7 sd 4 times in 5 takes {seeds} seeds on each workload" in said
    assert (
        "more than 200 seeds" in thermolion("plan", tmp_path / "sweep.yaml", "--effect", 0.05).out
    )


@pytest.mark.parametrize("effect", ["0", "-1", "nan", "large"])
def test_an_effect_that_is_none_is_refused(thermolion, small, effect):
    said = thermolion("plan", small, "--effect", effect)
    assert said.code == 2
    assert "--effect" in said.err


@pytest.mark.parametrize(("questions", "fewest"), [(1, 6), (2, 7)])
def test_a_plan_by_wins_says_the_fewest_blocks_and_if_it_has_them(
    thermolion, tmp_path, questions, fewest
):
    others = "".join(f", o{n}: {{optimizer: lion, lr: 0.{n + 1}}}" for n in range(questions))
    text = _sweep(
        f"candidates: {{adamw: {{}}{others}}}\nbaseline: adamw",
        analysis="analysis: {primary: win_probability, endpoints: [final_test_accuracy]}",
        seeds=f"seeds: {fewest - 1}",
    )
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    said = thermolion("plan", path).out
    assert f"no word is said of fewer than {fewest} blocks in all" in said
    assert f"write seeds: {fewest} or more" in said
    said = thermolion("plan", path, "--set", f"seeds={fewest}").out
    assert f"takes {fewest} blocks in all, and here are {fewest}" in said


def test_the_power_of_wins_is_that_of_simulated_studies():
    random = np.random.default_rng(0)
    design = Design((9,), 2, 0.025, wins=True)
    won = (random.normal(0.6, 1, (4000, 18)) > 0).sum(axis=1)
    # Of 18, the most losses whose two-sided p is at most 0.025: P(X <= 3) = 0.0038, 4: 0.0154.
    assert design.power(0.6) == pytest.approx(((won >= 15) | (won <= 3)).mean(), abs=0.02)


def _outcomes(tmp_path, scores):
    """Return outcomes of `scores`: by workload and candidate, one for each block."""
    path = tmp_path / "plain.yaml"
    (workloads, blocks) = np.shape(scores["lion"])
    path.write_text(_sweep(_PAIR, seeds=f"seeds: {blocks}", workloads=_workloads(workloads)))
    return [
        Outcome(
            trial,
            state="completed",
            metrics={
                "loss": scores[trial.candidate.name][int(trial.workload.name[1:])][trial.block]
            },
        )
        for trial in plan_trials(read_sweep(path))
    ]


def test_the_share_of_the_search_is_measured_once_searches_have_two_blocks(tmp_path):
    tune = _TUNED | {"tune": "tune: {trials: 8, repeats: 3}", "workloads": _workloads(2)}
    path = tmp_path / "tuned.yaml"
    path.write_text(_sweep(_PAIR, seeds="seeds: 8", **tune))
    random = np.random.default_rng(1)
    searches = random.normal(0, 2, (2, 3))[:, np.arange(8) % 3]
    scores = {"lion": searches + random.normal(0, 1, (2, 8)), "adamw": np.zeros((2, 8))}
    outcomes = _outcomes(tmp_path, scores)
    share = measure_share(read_sweep(path), outcomes)
    groups = [[row[s::3] for s in range(3)] for row in scores["lion"]]
    known = [estimate_components(each) for each in groups]
    whole = Components.average([one for one in known if one is not None])
    assert share.measured
    expected = whole.search_sd**2 / (whole.search_sd**2 + whole.block_sd**2)
    assert share.value == pytest.approx(expected)
    one_block = [one for one in outcomes if one.trial.block < 3]
    assert measure_share(read_sweep(path), one_block) == ASSUMED
    diverged = [replace(one, state="diverged") for one in outcomes]
    assert measure_share(read_sweep(path), diverged) == ASSUMED
