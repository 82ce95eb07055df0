"""Any logged metric as an endpoint, frozen with the rest: values, clocks, margins and sides."""

import csv
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


def test_a_time_to_a_target_that_is_never_reached_counts_with_the_whole_budget(answers):
    def log(trial):
        said = log_trial(trial)
        if trial.candidate.name == "theirs" and trial.block < 2:
            return Logged([(step, float(step), {"val": 0.1}) for step in range(5)], said.final)
        return said

    found = answers(sweep("{target: 0.5}"), log)["steps to target 0.5"]
    slow = [4, 4, *SLOW[2:]]
    logs = [math.log(b / a) for a, b in zip(FAST, slow, strict=True)]
    assert found["estimate"]["mean"] == pytest.approx(sum(logs) / 6)
    assert "baseline reached less" in found["flags"]
    assert found["verdict"] == "better"  # the other would have taken longer still


def test_who_reaches_the_target_less_often_is_not_called_better(answers):
    def log(trial):
        said = log_trial(trial)
        if trial.candidate.name == "ours" and trial.block == 0:
            return Logged([(step, float(step), {"val": 0.1}) for step in range(5)], said.final)
        return said

    found = answers(sweep("{target: 0.5}"), log)["steps to target 0.5"]
    assert found["estimate"]["mean"] > 0
    assert found["verdict"] == "undecided"
    assert "candidate reached less" in found["flags"]


def test_a_one_sided_question_has_half_the_p_value_and_no_word_for_worse(answers):
    found = answers(sweep("{target: 0.5, one_sided: true}"))["steps to target 0.5"]
    logs = [math.log(slow / fast) for slow, fast in zip(SLOW, FAST, strict=True)]
    expected = stats.ttest_1samp(logs, 0, alternative="greater")
    assert found["p_adjusted"] == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert found["estimate"]["low"] == pytest.approx(interval.low)
    assert found["estimate"]["high"] is None
    assert found["verdict"] == "better"


def test_what_is_worse_is_undecided_if_only_better_was_asked(answers):
    text = sweep("{target: 0.5, one_sided: true}").replace("baseline: theirs", "baseline: ours")
    found = answers(text)["steps to target 0.5"]
    assert found["estimate"]["mean"] < 0
    assert found["verdict"] == "undecided"
    assert found["p_adjusted"] > 0.99


def test_seconds_are_a_clock_of_their_own_on_which_the_faster_in_steps_may_be_slower(answers):
    found = answers(sweep("{target: 0.5}, {target: 0.5, clock: seconds}"))
    # Ours takes two seconds a step: what all trials were seen for is the four of the other.
    logs = [math.log(slow / (2 * fast)) for slow, fast in zip(SLOW, FAST, strict=True)]
    seconds = found["seconds to target 0.5"]
    assert seconds["estimate"]["mean"] == pytest.approx(sum(logs) / 6)
    assert found["steps to target 0.5"]["estimate"]["mean"] > seconds["estimate"]["mean"]


def test_the_area_over_seconds_is_that_of_what_all_trials_were_seen_for(answers):
    found = answers(sweep("{metric: val, measure: auc, clock: seconds}"))["val_auc over seconds"]

    def area(name, block):  # by hand: a jump between two points is a ramp, cut at four seconds
        reached, each = (FAST, 2.0) if name == "ours" else (SLOW, 1.0)
        high, end = 0.6 + 0.01 * block, reached[block] * each
        if end > 4:
            return 0.1
        ramp = each * (0.1 + high) / 2
        return ((end - each) * 0.1 + ramp + (4 - end) * high) / 4

    differences = [area("ours", b) - area("theirs", b) for b in range(6)]
    assert found["estimate"]["mean"] == pytest.approx(sum(differences) / 6)


def test_seconds_of_unlike_machines_are_not_compared_and_one_sentence_says_so(
    thermolion, tmp_path
):
    def log(trial):
        said = log_trial(trial)
        return Logged(said.curve, said.final, "fast" if trial.candidate.name == "ours" else "old")

    study = record_study(tmp_path, sweep("{target: 0.5, clock: seconds}"), log)
    said = thermolion("compare", study.name)
    assert said.code == 0
    assert said.out.count("unlike machines") == 1
    assert "seconds to target 0.5" in said.out


def test_a_frozen_endpoint_that_no_trial_logs_is_named_with_what_it_lacks(thermolion, tmp_path):
    study = record_study(tmp_path, sweep("{metric: tset_loss, goal: min}"), log_trial)
    said = thermolion("compare", study.name)
    assert said.code == 0
    assert "no trial has it: ended without tset_loss" in said.out


def test_looks_decide_by_a_frozen_endpoint_and_spare_what_it_has_decided(thermolion, tmp_path):
    text = sweep("{metric: test_loss, goal: min}", seeds="{looks: [5, 6]}")
    study = record_study(tmp_path, text, log_trial)
    found = json.loads(thermolion("compare", study.name, "--json").out)
    (first,) = [row for row in found["ledger"] if row["look"] == 1]
    expected = stats.ttest_rel(LOSSES["theirs"][:5], LOSSES["ours"][:5])
    assert first["endpoint"] == "final test_loss"
    assert first["t"] == pytest.approx(expected.statistic)


def test_the_frozen_analysis_names_an_endpoint_in_full_and_an_edit_of_it_is_a_deviation(
    thermolion, tmp_path
):
    study = record_study(tmp_path, sweep("{metric: test_loss, goal: min}"), log_trial)
    frozen = json.loads((study.layout.decisions / "analysis.json").read_text())["analysis"]
    assert frozen["endpoints"] == [{"measure": "final", "metric": "test_loss", "goal": "min"}]
    path = tmp_path / "logged.yaml"
    path.write_text(sweep("{metric: test_loss, goal: max}"))
    said = thermolion("compare", path)
    assert "analysis.endpoints is [final test_loss, goal max] by now" in said.out
    assert "the frozen [final test_loss, goal min] counts" in said.out


def test_what_was_asked_one_sidedly_does_not_fit_a_gain(thermolion, tmp_path):
    text = sweep("{target: 0.5, one_sided: true}").replace("baseline: theirs", "baseline: ours")
    said = thermolion("compare", record_study(tmp_path, text, log_trial).name).out
    assert "Asked was only if it is better (one-sided), which the data do not show." in said
    assert "the data fit a gain" not in said


def test_two_workloads_with_one_difference_are_no_range(thermolion, tmp_path):
    text = sweep("{target: 0.5}").replace(
        "goal: max}]", 'goal: max}, {name: other, train: "a:c", steps: 4, metric: val}]'
    )
    said = thermolion("compare", record_study(tmp_path, text, log_trial).name).out
    assert "x on average, the same on each workload; 95% CI" in said


def test_a_loss_that_is_not_finite_is_lost_by_its_own_doing_and_the_others_stand(answers):
    def log(trial):
        said = log_trial(trial)
        if trial.candidate.name == "ours" and trial.block == 0:
            return Logged(said.curve, {"test_loss": math.nan})
        return said

    found = answers(sweep("{metric: test_loss, goal: min}, val_auc"), log)
    assert found["final test_loss"]["estimate"]["n"] == 5
    assert found["final test_loss"]["verdict"] == "undecided"
    assert "lost candidate" in found["final test_loss"]["flags"]
    assert found["val_auc"]["estimate"]["n"] == 6


@pytest.mark.parametrize("workload", [", chance: 0.1", ""])
def test_a_diverged_trial_counts_with_the_chance_that_its_endpoint_declares(answers, workload):
    def log(trial):
        said = log_trial(trial)
        is_lost = trial.candidate.name == "theirs" and trial.block == 0
        return Logged(said.curve[:2], None) if is_lost else said

    found = answers(sweep("{metric: test_loss, goal: min, chance: 2.3}", workload=workload), log)
    expected = [2.3, *LOSSES["theirs"][1:]]
    differences = [a - b for a, b in zip(expected, LOSSES["ours"], strict=True)]
    loss = found["final test_loss"]
    assert loss["estimate"]["mean"] == pytest.approx(sum(differences) / 6)
    assert loss["collapsed"] == [0, 1]


def test_a_diverged_trial_counts_with_its_whole_budget_in_a_time_without_a_chance(answers):
    def log(trial):
        said = log_trial(trial)
        is_lost = trial.candidate.name == "theirs" and trial.block == 0
        return Logged(said.curve[:2], None) if is_lost else said

    found = answers(sweep("{target: 0.5}"), log)["steps to target 0.5"]
    assert found["estimate"]["n"] == 6
    logs = [math.log(slow / fast) for slow, fast in zip(SLOW, FAST, strict=True)]
    assert found["estimate"]["mean"] == pytest.approx(sum(logs) / 6)  # SLOW[0] is the budget
    assert "baseline reached less" in found["flags"]


def test_who_has_not_logged_the_curve_of_an_endpoint_is_not_called_better(answers):
    def log(trial):
        said = log_trial(trial)
        is_without = trial.candidate.name == "ours" and trial.block == 5
        curve = [
            (step, at, values | ({} if is_without else {"ppl": 1 - values["val"]}))
            for step, at, values in said.curve
        ]
        return Logged(curve, said.final)

    found = answers(sweep("{metric: ppl, measure: auc, goal: min}"), log)["AUC of ppl"]
    assert found["estimate"]["n"] == 5
    assert found["estimate"]["low"] > 0
    assert "lost candidate" in found["flags"]
    assert found["verdict"] == "undecided"


def test_the_page_has_every_endpoint_of_every_trial(thermolion, tmp_path):
    text = sweep("{metric: test_loss, goal: min}, steps_to_target", workload=", target: 0.5")
    record_study(tmp_path, text, log_trial)
    said = thermolion("report", "mine")
    assert said.code == 0, said.err
    folder = tmp_path / "studies" / "mine" / "report"
    rows = list(csv.DictReader((folder / "data.csv").read_text().splitlines()))
    ours = [row for row in rows if row["candidate"] == "ours"]
    assert [float(row["final test_loss"]) for row in ours] == LOSSES["ours"]
    assert [float(row["steps to target"]) for row in ours] == pytest.approx(FAST)
    page = (folder / "report.md").read_text()
    assert "better" in page
    assert "2.29x [" in page
    assert "6 of 6 trials reached it against 6." in page
    assert "(secondary)" not in page


def test_the_plan_says_which_endpoints_are_asked_about_and_counts_their_tests(
    thermolion, tmp_path
):
    path = tmp_path / "mine.yaml"
    path.write_text(sweep("{metric: test_loss, goal: min, margin: 0.01}, {target: 0.5}, val_auc"))
    said = thermolion("plan", path)
    assert "final test_loss, goal min, margin 0.01" in said.out
    assert "steps to target 0.5" in said.out
    assert json.loads(thermolion("plan", path, "--json").out)["claims"]["tests"] == 3
