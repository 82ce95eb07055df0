"""Any metric of a user's own training: its unit, its direction, what cannot be said of it."""

import csv
import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
from scipy import stats

from jobs.contract.workloads.workload import MetricSpec
from tracking.compare.compare import compare
from tracking.compare.endpoints import ComparisonError
from tracking.mlflow_store.parents import study_record
from tracking.mlflow_store.record import trial_record
from tracking.questions.analysis import Question
from tracking.questions.endpoint import AUC, FINAL, STANDARD
from tracking.report.figures import plots
from tracking.report.figures.curves import learning_curve
from tracking.report.page import write_report
from tracking.report.terminal import verdict_text

QUESTION = Question("thermolion", "adamw")
LOW = [2.41, 2.44, 2.39, 2.42, 2.40]
HIGH = [2.50, 2.51, 2.49, 2.53, 2.47]
PERCENT = MetricSpec("top1", unit="percent")


def on(comparison, endpoint, workload=None):
    rows = comparison.pooled if workload is None else comparison.by_workload
    (found,) = [o for o in rows if o.endpoint == endpoint and o.workload == workload]
    return found


def test_a_lower_loss_is_better_and_its_difference_positive_in_its_own_unit(user_arms):
    found = compare("s", user_arms(LOW, HIGH), [QUESTION])
    answer, expected = on(found, FINAL), stats.ttest_rel(HIGH, LOW)
    assert answer.estimate.mean == pytest.approx(sum(HIGH) / 5 - sum(LOW) / 5)
    assert answer.estimate.t == pytest.approx(expected.statistic)
    assert answer.estimate.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (answer.estimate.low, answer.estimate.high) == pytest.approx(tuple(interval))
    assert (answer.verdict, answer.unit, answer.lower_is_better) == ("better", "val_loss", True)
    assert answer.equivalence_p is None
    assert answer.superiority.wins == 5
    assert found.summaries[0].mean_final == pytest.approx(sum(LOW) / 5)
    speed = on(found, AUC)
    assert speed.estimate.mean == pytest.approx(answer.estimate.mean / 2)
    text = verdict_text(found)
    assert "better in final val_loss (lower is better; + means lower): +0.0880, 95% CI" in text
    assert "val_loss (lower is better)" in text
    assert "2.412" in text
    assert "accuracy" not in text
    assert " pp, 95% CI" not in text


def test_losses_that_hardly_differ_are_undecided_and_never_equivalent(user_arms):
    other = [one + 1e-6 * sign for one, sign in zip(LOW, (1, -1, 1, -1, 2), strict=True)]
    answer = on(compare("s", user_arms(LOW, other), [QUESTION]), FINAL)
    assert (answer.verdict, answer.equivalence_p) == ("undecided", None)


def test_losses_within_a_margin_of_their_own_are_equivalent(user_arms):
    other = [one + 1e-3 * sign for one, sign in zip(LOW, (1, -1, 1, -1, 2), strict=True)]
    found = compare("s", user_arms(LOW, other), [QUESTION], margins={FINAL.name: 0.01})
    answer, differences = on(found, FINAL), [1e-3 * s for s in (1, -1, 1, -1, 2)]
    sides = [stats.ttest_1samp(differences, limit) for limit in (-0.01, 0.01)]
    larger = max(sides[0].pvalue / 2, sides[1].pvalue / 2)
    assert answer.verdict == "equivalent"
    assert answer.equivalence_p == pytest.approx(2 * larger)  # Holm over two endpoints
    assert on(found, AUC).equivalence_p is None  # its margin is not declared
    text = verdict_text(found)
    assert "Surely within ±0.01 by two one-sided tests" in text


def test_an_endpoint_in_points_has_its_own_margin_if_one_is_declared(user_arms):
    first, second = [91.20, 90.85, 91.40, 91.1, 91.0], [90.95, 90.60, 91.15, 90.86, 90.74]
    outcomes = user_arms(first, second, reading=PERCENT)
    usual = on(compare("s", outcomes, [QUESTION]), FINAL)
    wide = compare("s", outcomes, [QUESTION], margins={FINAL.name: 1.0})
    assert usual.verdict == "better"
    assert on(wide, FINAL).verdict == "equivalent"
    assert wide.margin(on(wide, AUC)) == 0.2


def test_a_percentage_is_compared_in_points_as_it_is(user_arms):
    first = [91.20, 90.85, 91.40, 91.05, 91.30]
    second = [90.70, 90.60, 90.95, 90.90, 90.65]
    found = compare("s", user_arms(first, second, reading=PERCENT), [QUESTION])
    answer = on(found, FINAL)
    assert answer.estimate.mean == pytest.approx(0.4)
    assert (answer.unit, answer.measure) == ("pp", "final top1")
    assert answer.equivalence_p is not None
    text = verdict_text(found)
    assert "Δ top1, pp [95% CI]" in text
    assert "91.16" in text


def test_a_fraction_counts_a_hundredfold(user_arms):
    reading = MetricSpec("val_f1", "test_f1", unit="fraction")
    outcomes = [
        replace(one, metrics={"test_f1": one.curve[-1].metrics["val_f1"] - 0.1})
        for one in user_arms([0.91, 0.93], [0.90, 0.91], reading=reading)
    ]
    outcomes = [replace(one, curve=_scaled(one.curve)) for one in outcomes]
    found = compare("s", outcomes, [QUESTION])
    assert on(found, FINAL).estimate.mean == pytest.approx(1.5)
    assert found.summaries[0].mean_final == pytest.approx(82)


def _scaled(curve):
    return tuple(
        replace(one, metrics={"val_f1": min(1.0, one.metrics["val_f1"])}) for one in curve
    )


@pytest.mark.parametrize(("unit", "value"), [("fraction", 91.2), ("percent", 100.5)])
def test_a_value_that_its_unit_does_not_allow_is_refused(user_outcome, unit, value):
    trial = user_outcome(curve=[(0, 0.5), (1, value)], reading=MetricSpec("acc", unit=unit))
    with pytest.raises(ComparisonError, match=r"acc of thermolion on lm.*another `unit`"):
        compare("s", [trial], [])


def test_the_final_score_is_the_last_value_if_nothing_final_was_logged(user_outcome):
    found = compare("s", [user_outcome(metrics={}, curve=[(0, 3.0), (5, 2.0)])], [])
    assert found.summaries[0].mean_final == 2.0
    declared = MetricSpec("val_loss", "test_loss", goal="min")
    (left_out,) = compare("s", [user_outcome(reading=declared, metrics={})], []).incomplete
    assert left_out.reasons == (("thermolion", "ended without test_loss"),)


def test_a_diverged_trial_without_a_declared_chance_is_no_result(user_outcome, user_arms):
    outcomes = user_arms(LOW, HIGH)
    outcomes[1] = user_outcome("thermolion", "lm", 1, [(0, 4.0), (50, math.nan)], state="diverged")
    found = compare("s", outcomes, [QUESTION])
    assert on(found, FINAL).estimate.n == 4
    ((candidate, why),) = found.incomplete[0].reasons
    assert (candidate, found.incomplete[0].block) == ("thermolion", 1)
    assert "declares no `chance`" in why


def test_a_diverged_trial_counts_as_the_declared_chance_to_where_the_others_end(
    user_outcome, user_arms
):
    reading = MetricSpec("val_loss", goal="min", chance=6.0)
    outcomes = user_arms(LOW, HIGH, reading=reading)
    nan = [(0, 4.0), (50, math.nan)]
    outcomes[1] = user_outcome("thermolion", "lm", 1, nan, reading, state="diverged")
    found = compare("s", outcomes, [QUESTION])
    summary = found.summaries[0]
    assert (summary.n, summary.diverged) == (5, 1)
    assert summary.mean_final == pytest.approx((sum(LOW) - LOW[1] + 6.0) / 5)
    assert on(found, FINAL).divergences == (1, 0)
    lost = (50 * 5.0 + 50 * 6.0) / 100
    kept = sum((4.0 + last) / 2 for block, last in enumerate(LOW) if block != 1)
    assert summary.mean_auc == pytest.approx((kept + lost) / 5)


def test_a_diverged_trial_has_no_area_if_the_curves_of_the_others_are_points(user_outcome):
    reading = MetricSpec("val_loss", goal="min", chance=6.0)
    lost = user_outcome("adamw", "lm", 0, [], reading, state="diverged")
    found = compare("s", [user_outcome(curve=[(100, 2.5)], reading=reading), lost], [QUESTION])
    (flag,) = found.flags
    assert flag.detail.count("has fewer than two points of val_loss") == 2
    assert [one.mean_final for one in found.summaries] == [2.5, 6.0]


def test_blocks_whose_curves_cover_unlike_steps_are_left_out_of_the_speed_alone(
    user_outcome, user_arms
):
    outcomes = user_arms(LOW, HIGH)
    outcomes[2] = user_outcome("thermolion", "lm", 2, [(0, 4.0), (80, 2.39)])
    outcomes[3] = user_outcome("thermolion", "lm", 3, [(100, 2.42)])
    found = compare("s", outcomes, [QUESTION])
    assert on(found, FINAL).estimate.n == 5
    speed = on(found, AUC)
    assert (speed.estimate.n, "no AUC" in speed.flags) == (3, True)
    assert "no AUC" not in on(found, FINAL).flags
    details = {flag.block: flag.detail for flag in found.flags if flag.kind == "no AUC"}
    assert details == {
        2: "thermolion: steps 0 to 80, adamw: steps 0 to 100",
        3: "thermolion: has fewer than two points of val_loss",
    }
    assert found.incomplete == ()


def test_a_curve_may_begin_after_the_first_step(user_outcome):
    (summary,) = compare(
        "s", [user_outcome(curve=[(10, 4.0), (20, 2.0), (40, 2.0)])], []
    ).summaries
    assert summary.mean_auc == pytest.approx((10 * 3.0 + 20 * 2.0) / 30)


def test_final_scores_alone_leave_the_speed_open(user_outcome):
    outcomes = [
        user_outcome(name, block=block, curve=[(100, last)])
        for name, arm in (("thermolion", LOW), ("adamw", HIGH))
        for block, last in enumerate(arm)
    ]
    found = compare("s", outcomes, [QUESTION])
    assert on(found, FINAL).verdict == "better"
    assert on(found, AUC).verdict == "not estimable"
    assert "fewer than two blocks have curves over the same steps" in verdict_text(found)
    assert found.summaries[0].mean_auc is None


@pytest.mark.parametrize(
    "reading",
    [MetricSpec("acc", unit="percent"), MetricSpec("val_loss"), MetricSpec("ppl", goal="min")],
)
def test_workloads_of_unlike_units_or_directions_are_not_pooled(user_arms, reading):
    outcomes = user_arms(LOW, HIGH) + user_arms(
        [50.0, 51.5], [49.0, 50.2], "other", reading=reading
    )
    found = compare("s", outcomes, [QUESTION])
    for endpoint in STANDARD:
        pooled = on(found, endpoint)
        assert (pooled.verdict, pooled.flags) == ("not estimable", ("mixed units",))
        assert (pooled.estimate.mean, pooled.p_adjusted) == (None, None)
        assert on(found, endpoint, "lm").estimate.n == 5
    assert on(found, FINAL, "lm").verdict == "better"
    assert "nothing is pooled over them" in verdict_text(found)


def test_a_percentage_of_the_user_is_pooled_with_the_accuracy_of_images(arms, user_arms):
    first, second = [91.0, 91.6, 91.2], [90.7, 90.9, 91.0]
    images = arms("digits", [0.91, 0.92, 0.93], [0.90, 0.915, 0.91])
    found = compare("s", images + user_arms(first, second, reading=PERCENT), [QUESTION])
    means = [on(found, FINAL, name).estimate.mean for name in ("digits", "lm")]
    pooled = on(found, FINAL)
    assert pooled.estimate.mean == pytest.approx(sum(means) / 2)
    assert (pooled.measure, pooled.flags) == ("final score", ("few seeds", "mixed metrics"))


def test_a_curve_of_the_user_is_drawn_against_steps_or_epochs(user_outcome):
    styles = plots.lines(["thermolion", "adamw"])
    trials = [user_outcome(block=block) for block in range(2)]
    drawn = learning_curve("lm", trials, "val_loss", styles)
    assert "val loss on lm against steps" in drawn
    with_epochs = [
        replace(one, curve=tuple(replace(p, epoch=p.step / 50) for p in one.curve))
        for one in trials
    ]
    assert "lm against epochs" in learning_curve("lm", with_epochs, "val_loss", styles)
    mixed = [with_epochs[0], trials[1]]
    assert "lm against steps" in learning_curve("lm", mixed, "val_loss", styles)
    rounded = [
        replace(one, curve=tuple(replace(p, epoch=p.step // 60) for p in one.curve))
        for one in trials
    ]
    assert "lm against steps" in learning_curve("lm", rounded, "val_loss", styles)


def test_a_report_tells_of_user_trainings_beside_images(user_outcome, user_arms, arms, tmp_path):
    images = arms("digits", [0.91, 0.92, 0.93], [0.90, 0.915, 0.91])
    outcomes = [*images, *user_arms(LOW, HIGH)]
    outcomes[-1] = user_outcome("adamw", "lm", 4, [(0, 4.0), (50, math.nan)], state="diverged")
    outcomes += [user_outcome(name, "rl", curve=[(1, 7.0)]) for name in ("thermolion", "adamw")]
    found = compare("s", outcomes, [QUESTION])
    page = write_report(found, outcomes, tmp_path).read_text()
    for text in ("my_lab.lm:train", "val_loss (lower is better)", "different units", "steps"):
        assert text in page
    assert "a positive one always means that the candidate is ahead" in page
    assert page.count("<svg") == 4 + 3 + 1  # forests by unit, curves, losses of the images
    with (tmp_path / "data.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lm = [row for row in rows if row["workload"] == "lm"]
    assert (lm[0]["final_metric"], float(lm[0]["final"])) == ("val_loss", 2.41)
    assert (lm[0]["final_test_accuracy_pct"], rows[0]["auc_pct"] != "") == ("", True)
    record = json.loads((tmp_path / "comparison.json").read_text())
    assert record["workloads"][1]["reading"]["goal"] == "min"
    assert [one["unit"] for one in record["by_workload"]][:2] == ["pp", "val_loss"]


def test_a_command_has_only_the_hyperparameters_that_it_was_handed_among_the_params(user_outcome):
    begun = replace(user_outcome(), started_ms=1, ended_ms=9)
    candidate = replace(begun.trial.candidate, hyperparameters={"lr": 0.1, "momentum": 0.0})
    for line, handed in (("t.sh {lr}", {"lr"}), ("t.sh {hyperparameters}", {"lr", "momentum"})):
        workload = replace(begun.trial.workload, train=None, command=f"{line} {{seed}}")
        trial = replace(begun.trial, workload=workload, candidate=candidate)
        params = trial_record(replace(begun, trial=trial), "s").params
        assert {"lr", "momentum"} & params.keys() == handed


def test_a_run_of_a_user_training_has_its_options_and_no_empty_image_fields(user_outcome):
    begun = replace(user_outcome(), started_ms=1, ended_ms=9)
    record = trial_record(begun, "s")
    assert record.params["train"] == "my_lab.lm:train"
    assert record.params["options.depth"] == "4"
    assert not {"dataset", "model", "epochs", "command", "steps"} & record.params.keys()
    steps = sorted({one.step for one in record.metrics if one.key == "val_loss"})
    assert steps == [0, 50, 100]
    parent = study_record([begun], "s", None)
    finals = {one.key: one.value for one in parent.metrics}
    assert finals["final_val_loss/lm/thermolion"] == 2.5


def test_a_recipe_is_among_the_params_if_it_is_not_the_usual_one(outcome):
    made = replace(outcome(), started_ms=1, ended_ms=9)
    usual = trial_record(made, "s").params
    recipe = replace(made.trial.workload, schedule={"cosine": {"warmup": 0.1}}, ema=0.99)
    changed = replace(made, trial=replace(made.trial, workload=recipe))
    params = trial_record(changed, "s").params
    added = {"schedule": '{"cosine": {"warmup": 0.1}}', "ema": "0.99"}
    assert {key: params[key] for key in params.keys() - usual.keys()} == added


def test_small_and_large_numbers_keep_three_digits_that_mean_something(user_arms):
    for scale, shown in ((1e-3, "+0.0000880"), (1e4, "+880")):
        arms = user_arms([scale * one for one in LOW], [scale * one for one in HIGH])
        text = verdict_text(compare("s", arms, [QUESTION]))
        assert f"+ means lower): {shown}, 95% CI" in text


def test_steps_of_a_curve_rise(user_outcome):
    assert all(a.step < b.step for a, b in pairwise(user_outcome().curve))
