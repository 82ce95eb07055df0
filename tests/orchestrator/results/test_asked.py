"""What `compare` is asked on the command line, about studies of ours: a metric, a baseline."""

import json

import pytest
from logged_study import Logged, record_study
from scipy import stats

SWEEP = """\
study: mine
workloads: [{{name: toy, train: "a:b", steps: 2, metric: val, goal: max}}]
candidates: {{{candidates}}}
{questions}
seeds: 5
"""
THREE = ", ".join(f"{name}: {{optimizer: adamw, lr: 0.{n}}}" for n, name in enumerate("abc", 1))
LOSSES = {
    "a": [0.31, 0.35, 0.30, 0.33, 0.32],
    "b": [0.40, 0.41, 0.37, 0.44, 0.39],
    "c": [0.50, 0.52, 0.47, 0.49, 0.55],
}


def log_trial(trial):
    loss = LOSSES[trial.candidate.name][trial.block]
    curve = [(step, float(step), {"val": 0.5, "loss": loss + 2 - step}) for step in range(3)]
    return Logged(curve, {"val": 0.5, "test_loss": loss})


@pytest.fixture
def mine(tmp_path):
    """Record a study that asks these questions."""

    def record(questions="baseline: b"):
        return record_study(
            tmp_path, SWEEP.format(candidates=THREE, questions=questions), log_trial
        )

    return record


def pooled(said):
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["exploratory"] is True
    return {
        (one["question"]["candidate"], one["question"]["baseline"], one["endpoint"]): one
        for one in found["pooled"]
    }


def test_another_metric_takes_the_place_of_the_declared_one_for_exploration(mine, thermolion):
    mine()
    found = pooled(
        thermolion("compare", "mine", "--metric", "test_loss", "--goal", "min", "--json")
    )
    final = found["a", "b", "final_test_accuracy"]
    expected = stats.ttest_rel(LOSSES["b"], LOSSES["a"])
    assert final["measure"] == "final test_loss"
    assert final["estimate"]["t"] == pytest.approx(expected.statistic)
    assert final["lower_is_better"]


def test_a_baseline_that_is_named_takes_the_place_of_the_declared_questions(mine, thermolion):
    mine("compare: {candidate: a, against: [b]}")
    found = pooled(thermolion("compare", "mine", "--baseline", "c", "--json"))
    assert {key[:2] for key in found} == {("a", "c"), ("b", "c")}


def test_the_goal_alone_turns_the_declared_metric_around(mine, thermolion):
    mine()
    options = ("--metric", "loss", "--goal")
    down = pooled(thermolion("compare", "mine", *options, "min", "--json"))
    up = pooled(thermolion("compare", "mine", *options, "max", "--json"))
    key = ("a", "b", "final_test_accuracy")
    assert down[key]["estimate"]["mean"] == pytest.approx(-up[key]["estimate"]["mean"])
    turned = pooled(thermolion("compare", "mine", "--goal", "min", "--json"))
    assert turned[key]["lower_is_better"]


def test_the_page_says_what_was_asked_and_that_nobody_froze_it(mine, thermolion, tmp_path):
    mine()
    said = thermolion(
        "compare", "mine", "--metric", "loss", "--goal", "min", "--report", tmp_path / "page"
    )
    assert "put on the command line, and not frozen" in said.out
    assert "--metric loss --goal min" in said.out
    assert "loss" in (tmp_path / "page" / "data.csv").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--metric", "tset_loss"), ["'tset_loss'", "did you mean 'test_loss'?", "loss", "val"]),
        (("--metric", "test_loss"), ["test_loss", "--goal max or --goal min"]),
        (("--baseline", "d"), ["'d'", "choose from a, b, c"]),
        (("--candidate", "params.lr"), ["--candidate", "runs that other tools", "mine"]),
        (("--filter", "tags.x = 'y'"), ["--filter", "runs that other tools"]),
        (("--unpaired",), ["--unpaired", "runs that other tools"]),
        (("--at-step", 5), ["--at-step", "runs that other tools"]),
        (("--unit", "fraction", "--chance", 3), ["--chance is 3", "between 0 and 1"]),
    ],
)
def test_what_cannot_be_asked_is_one_error_with_the_choices(mine, thermolion, options, words):
    mine()
    said = thermolion("compare", "mine", *options)
    assert said.code == 2
    assert said.out == ""
    for word in words:
        assert word in said.err


def test_all_pairs_are_asked_about_by_one_word(mine, thermolion):
    mine("compare: all")
    found = json.loads(thermolion("compare", "mine", "--json").out)
    asked = [(one["candidate"], one["baseline"]) for one in found["questions"]]
    assert asked == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found["exploratory"] is False  # they were frozen


def test_an_image_study_is_compared_by_a_loss_that_it_has_logged(thermolion, tmp_path):
    text = """\
study: mine
workloads: [{dataset: digits, model: mlp, epochs: 1}]
candidates: {a: {optimizer: adamw, lr: 0.1}, b: {optimizer: adamw, lr: 0.2}}
baseline: b
seeds: 5
"""

    def log(trial):
        loss = LOSSES[trial.candidate.name][trial.block]
        curve = [(step, float(step), {"val_accuracy": 0.5, "val_loss": 1.0}) for step in (0, 2)]
        return Logged(curve, {"test_accuracy": 0.5, "test_loss": loss})

    record_study(tmp_path, text, log)
    found = pooled(thermolion("compare", "mine", "--metric", "test_loss", "--json"))
    one = found["a", "b", "final_test_accuracy"]
    expected = stats.ttest_rel(LOSSES["b"], LOSSES["a"])
    assert (one["measure"], one["unit"]) == ("final test_loss", "test_loss")
    assert one["lower_is_better"]
    assert one["estimate"]["t"] == pytest.approx(expected.statistic)


def test_two_studies_are_compared_by_the_metric_and_the_baseline_that_are_asked(
    thermolion, tmp_path
):
    for name, candidates in (
        ("one", "a: {optimizer: adamw, lr: 0.1}"),
        ("two", THREE[THREE.index("b:") :]),
    ):
        text = SWEEP.format(candidates=candidates, questions="").replace("mine", name)
        record_study(tmp_path, text, log_trial)
    options = ("--metric", "test_loss", "--goal", "min", "--json")
    found = pooled(thermolion("compare", "one", "two", *options))
    assert {key[:2] for key in found} == {("a", "b"), ("a", "c")}
    final = found["a", "c", "final_test_accuracy"]
    expected = stats.ttest_rel(LOSSES["c"], LOSSES["a"])
    assert final["estimate"]["t"] == pytest.approx(expected.statistic)
    found = pooled(thermolion("compare", "one", "two", "--baseline", "c", *options))
    assert {key[:2] for key in found} == {("a", "c"), ("b", "c")}
