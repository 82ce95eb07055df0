"""Any logged metric as an endpoint, frozen with the rest: values, clocks, margins and sides."""

import json
import math

import pytest
from logged_study import Logged, record_study
from scipy import stats

_SWEEP = """\
study: mine
workloads: [{{name: toy, train: "a:b", steps: 4, metric: val, goal: max{workload}}}]
candidates: {{ours: {{optimizer: adamw, lr: 0.1}}, theirs: {{optimizer: adamw, lr: 0.2}}}}
baseline: theirs
seeds: {seeds}
analysis: {{endpoints: [{endpoints}]{analysis}}}
"""
SLOW = [4, 4, 4, 3, 4, 3]  # steps to 0.5, by seed
FAST = [2, 1, 2, 2, 1, 2]
LOSSES = {
    "ours": [0.31, 0.35, 0.30, 0.33, 0.32, 0.36],
    "theirs": [0.40, 0.41, 0.37, 0.44, 0.39, 0.43],
}


def sweep(endpoints, analysis="", seeds=6, workload=""):
    return _SWEEP.format(endpoints=endpoints, analysis=analysis, seeds=seeds, workload=workload)


def log_trial(trial):
    """Log a curve that is at 0.5 from a step on, one step a second (ours: two), and a loss."""
    name, block = trial.candidate.name, trial.block
    reached, each = (FAST, 2.0) if name == "ours" else (SLOW, 1.0)
    curve = [
        (step, each * step, {"val": 0.6 + 0.01 * block if step >= reached[block] else 0.1})
        for step in range(5)
    ]
    return Logged(curve, {"test_loss": LOSSES[name][block]})


@pytest.fixture
def answers(thermolion, tmp_path):
    """Record a study and return its pooled answers as JSON, by endpoint."""

    def ask(text, logged=log_trial, *options):
        study = record_study(tmp_path, text, logged)
        done = thermolion("compare", study.name, "--json", *options)
        assert done.code == 0, done.err
        return {one["endpoint"]: one for one in json.loads(done.out)["pooled"]}

    return ask


def test_a_loss_that_only_the_log_has_is_an_endpoint_with_a_margin_in_its_own_unit(answers):
    found = answers(sweep("{metric: test_loss, goal: min, margin: 0.2}"))
    loss = found["final test_loss"]
    expected = stats.ttest_rel(LOSSES["theirs"], LOSSES["ours"])  # turned: lower is better
    assert loss["estimate"]["t"] == pytest.approx(expected.statistic)
    assert loss["estimate"]["p"] == pytest.approx(expected.pvalue)
    assert (loss["unit"], loss["lower_is_better"]) == ("test_loss", True)
    assert loss["verdict"] == "equivalent"  # within 0.2, which the other margin of 0.2 pp is not
    sides = [
        stats.ttest_1samp(
            [a - b for a, b in zip(LOSSES["theirs"], LOSSES["ours"], strict=True)], m
        )
        for m in (-0.2, 0.2)
    ]
    assert loss["equivalence_p"] == pytest.approx(max(one.pvalue / 2 for one in sides))
    # The two that every study has are there as well, for exploration.
    assert "exploratory" in found["final_test_accuracy"]["flags"]
    assert "exploratory" not in loss["flags"]


def test_steps_to_a_target_are_an_endpoint_whose_factor_is_that_of_the_restricted_times(answers):
    found = answers(sweep("{target: 0.5}"))
    times = found["steps to target 0.5"]
    logs = [math.log(slow / fast) for slow, fast in zip(SLOW, FAST, strict=True)]
    expected = stats.ttest_1samp(logs, 0)
    assert times["estimate"]["mean"] == pytest.approx(sum(logs) / 6)
    assert times["estimate"]["p"] == pytest.approx(expected.pvalue)
    assert times["verdict"] == "better"
    assert times["unit"] == "log factor"
