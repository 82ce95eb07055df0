"""`evaluate` of a workload in a sweep: which trials it names, what a plan says and prices."""

import pytest
from sweep_text import sweep_text

from orchestrator.study.estimate import estimate_by_trial
from orchestrator.study.trials import plan_trials
from orchestrator.sweep.sweep import read_sweep
from tracking.outcomes import Outcome


def _sweep(keys="", dataset="digits, epochs: 3"):
    workload = f"{{dataset: {dataset}, model: convnet{keys}}}"
    return sweep_text("candidates: {adamw: {}, lion: {}}", workloads=f"workloads: [{workload}]")


def _ids(found):
    return [trial["id"] for trial in found["trials"]]


@pytest.mark.parametrize("keys", ["{}", "{every: 0.25ep}", "{every: 0.250 ep, samples: null}"])
def test_the_usual_evaluations_name_the_trials_that_there_always_were(keys, planned):
    assert _ids(planned(_sweep(f", evaluate: {keys}"))) == _ids(planned(_sweep()))


def test_other_evaluations_name_other_trials_and_equal_ones_the_same(planned):
    keys = ["", "{every: 1ep}", "{every: 50 steps}", "{samples: 100}", "{batch: 64}"]
    ids = [_ids(planned(_sweep(f", evaluate: {key}" if key else ""))) for key in keys]
    assert len({one for each in ids for one in each}) == len(keys) * len(ids[0])
    for other in ("{every: 1.0ep}", "{every: 1 ep}"):
        assert _ids(planned(_sweep(f", evaluate: {other}"))) == ids[1]


def test_defaults_and_overrides_reach_evaluations_and_the_plan_says_them(
    planned, thermolion, tmp_path
):
    text = _sweep().replace("workloads:", "defaults: {evaluate: {samples: 100}}\nworkloads:")
    planned(text)
    path, override = tmp_path / "sweep.yaml", "defaults.evaluate.every=50 steps"
    said = thermolion("plan", path, "--set", override)
    assert said.code == 0, said.err
    assert "evaluated every 50 steps, curve on 100 images" in said.out
    assert "evaluated" not in thermolion("plan", path, "--set", "defaults={}").out


def test_a_plan_prices_the_evaluations_that_there_will_be(tmp_path):
    """By hand: an image scored is one forward pass, an image trained on is three."""
    passes = {
        "": 13 * 6_000,
        ", evaluate: {every: 1ep}": 4 * 6_000,
        ", evaluate: {every: 1ep, samples: 1000}": 3 * 1_000 + 6_000,
        # An epoch has 422 steps of 128 images, so 1,266 in all: at 0, 500, 1,000 and the last.
        ", evaluate: {every: 500 steps, samples: 1000}": 3 * 1_000 + 6_000,
    }
    seconds = []
    for keys in passes:
        path = tmp_path / "sweep.yaml"
        path.write_text(_sweep(keys, "mnist, epochs: 3"))
        outcomes = [Outcome(trial) for trial in plan_trials(read_sweep(path))]
        seconds.append(set(estimate_by_trial(outcomes, "cpu").values()))
    whole = [3 * 3 * 54_000 + scored + 10_000 for scored in passes.values()]
    found = [value for (value,) in seconds]
    expected = [found[0] * images / whole[0] for images in whole]
    assert found == pytest.approx(expected)
