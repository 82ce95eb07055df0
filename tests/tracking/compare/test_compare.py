"""Comparisons of whole studies: pairing, divergence, gaps, verdicts."""

import json
import math

import numpy as np
import pytest

from tracking.compare.compare import compare
from tracking.compare.endpoints import ComparisonError
from tracking.compare.result import verdict
from tracking.questions.analysis import Question
from tracking.questions.endpoint import AUC, FINAL
from tracking.report.page import write_report
from tracking.report.sensitivity import sensitivity
from tracking.report.terminal import verdict_text
from tracking.report.wording import p_value
from tracking.stats.multiplicity import holm
from tracking.stats.t_tests import paired_t

QUESTION = Question("thermolion", "adamw")
A = [0.9120, 0.9085, 0.9140, 0.9105, 0.9130]
B = [0.9070, 0.9060, 0.9095, 0.9090, 0.9065]


def final(comparison, workload=None):
    rows = comparison.pooled if workload is None else comparison.by_workload
    (found,) = [one for one in rows if one.endpoint == FINAL and one.workload == workload]
    return found


def test_the_known_answer_comes_through_in_percentage_points(arms):
    found = compare("s", arms("digits", A, B), [QUESTION])
    answer = final(found)
    assert answer.estimate.mean == pytest.approx(0.4)
    assert answer.estimate.p == pytest.approx(0.01105649, abs=1e-6)
    assert (answer.estimate.low, answer.estimate.high) == pytest.approx((0.1516672, 0.6483328))
    assert answer.p_adjusted == pytest.approx(2 * 0.01105649, abs=1e-6)
    assert answer.verdict == "better"
    assert answer.superiority.wins == 5
    assert final(found, "digits").estimate == answer.estimate


def test_the_speed_endpoint_is_the_area_under_the_curve(arms):
    found = compare("s", arms("digits", A, B), [QUESTION])
    (speed,) = [one for one in found.pooled if one.endpoint == AUC]
    # The curves of the fixture are the final accuracy, lower by constants, from the same 0.1.
    assert speed.estimate.mean == pytest.approx(0.4 * (40 - 5) / 40)
    assert speed.measure == "val_auc"


def test_swapping_candidate_and_baseline_turns_every_sign(study):
    there = compare("s", study(), [QUESTION])
    back = compare("s", study(), [Question("adamw", "thermolion")])
    opposite = {"better": "worse", "worse": "better"}
    for one, other in zip(
        there.pooled + there.by_workload, back.pooled + back.by_workload, strict=True
    ):
        assert one.estimate.mean == pytest.approx(-other.estimate.mean)
        assert one.p_adjusted == pytest.approx(other.p_adjusted)
        assert one.verdict == opposite.get(other.verdict, other.verdict)


def test_differences_that_are_equal_but_for_rounding_leave_the_other_answers(outcome):
    scores = {"thermolion": (0.91, 0.92, 0.93), "adamw": (0.9, 0.91, 0.92), "lion": B[:3]}
    trials = [
        outcome(name, "digits", i, x) for name, of in scores.items() for i, x in enumerate(of)
    ]
    questions = [QUESTION, Question("thermolion", "lion")]
    found = compare("s", trials, questions)
    kinds = [one.estimate.kind for one in found.pooled if one.endpoint == FINAL]
    assert kinds == ["degenerate", "estimated"]
    assert [one.sensitivity.max_t_p for one in found.pooled] == [None] * 4


def test_the_order_of_trials_is_irrelevant(study):
    outcomes = study()
    shuffled = list(outcomes)
    np.random.default_rng(1).shuffle(shuffled)
    one, other = (compare("s", each, [QUESTION]) for each in (outcomes, shuffled))
    for a, b in zip(one.pooled, other.pooled, strict=True):
        assert a.estimate.mean == pytest.approx(b.estimate.mean)
        assert a.estimate.p == pytest.approx(b.estimate.p)
        assert a.verdict == b.verdict


def test_candidates_of_equal_results_are_identical_and_have_no_p_value(arms):
    found = compare("s", arms("digits", A, A), [QUESTION])
    assert [one.verdict for one in found.pooled] == ["identical"] * 2
    assert [one.p_adjusted for one in found.pooled] == [None] * 2
    assert "no p-value" in verdict_text(found)


def test_two_labels_of_one_optimizer_seldom_differ():
    """An A/A study, many times over, through verdicts: at most the errors that are allowed."""
    random = np.random.default_rng(3)
    wins = 0
    for _ in range(1000):
        estimates = [paired_t(*random.normal(90, 0.3, (2, 5))) for _ in range(4)]
        adjusted = holm([one.p for one in estimates])
        words = [verdict(one, p, None, 0.05) for one, p in zip(estimates, adjusted, strict=True)]
        wins += any(word in ("better", "worse") for word in words)
    assert wins / 1000 <= 0.065


def test_a_small_sure_difference_is_equivalent(arms):
    noise = [0.0001, -0.0001, 0.0002, -0.0002, 0.0001]
    found = compare(
        "s", arms("digits", [b + n for b, n in zip(B, noise, strict=True)], B), [QUESTION]
    )
    assert final(found).verdict == "equivalent"
    assert "Surely within ±0.2 pp by two one-sided tests" in verdict_text(found)


def test_an_undecided_answer_says_what_could_have_been_found(arms):
    found = compare(
        "s",
        arms("digits", [0.91, 0.90, 0.93, 0.92, 0.90], [0.90, 0.92, 0.91, 0.92, 0.91]),
        [QUESTION],
    )
    assert final(found).verdict == "undecided"
    detectable = f"{final(found).smallest_detectable:.2f} pp"
    text = verdict_text(found)
    assert "The interval holds 0" in text
    assert f"a true difference of {detectable} is found with 80% power" in text


def test_one_block_is_not_estimable(arms):
    found = compare("s", arms("digits", [0.91], [0.90]), [QUESTION])
    assert final(found).verdict == "not estimable"
    assert "fewer than two complete blocks" in verdict_text(found)


def test_a_constant_difference_is_not_estimable(arms):
    found = compare("s", arms("digits", [0.91, 0.93], [0.90, 0.92]), [QUESTION])
    assert final(found).verdict == "not estimable"
    assert "no spread" in verdict_text(found)


def test_a_diverged_trial_counts_with_chance(outcome, arms):
    outcomes = arms("digits", A, B)
    outcomes[2] = outcome(
        "thermolion",
        "digits",
        2,
        curve=[(0, 0.1), (10, 0.5), (20, math.nan)],
        state="diverged",
        metrics={},
    )
    found = compare("s", outcomes, [QUESTION])
    summary = found.summaries[0]
    assert (summary.n, summary.diverged) == (5, 1)
    assert summary.mean_final == pytest.approx(100 * (sum(A) - A[2] + 0.1) / 5)
    answer = final(found)
    assert answer.divergences == (1, 0)
    assert "collapse" in answer.flags
    assert answer.without_divergence.n == 4
    # 0 to 10 from 10 % to 50 %, 10 to 20 down to chance, then chance.
    expected = (10 * 0.3 + 10 * 0.3 + 20 * 0.1) / 40
    lost = compare("s", [outcomes[2]], [])
    assert lost.summaries[0].mean_auc == pytest.approx(100 * expected)


def test_a_curve_that_breaks_off_stays_at_chance_from_its_last_point(outcome):
    broken = outcome(curve=[(0, 0.1), (20, 0.5)], state="diverged")
    found = compare("s", [broken], [])
    assert found.summaries[0].mean_auc == pytest.approx(100 * (20 * 0.3 + 20 * 0.1) / 40)


def test_a_win_is_undecided_if_divergence_leaves_a_workload_nothing_clean(outcome, arms):
    lost = [outcome("adamw", "digits", block, 0.1, state="diverged") for block in range(4)]
    outcomes = [
        *(one for one in arms("digits", A, B) if one.trial.candidate.name == "thermolion"),
        *(*lost, outcome("adamw", "digits", 4, B[4])),
        *arms("kmnist", [0.90, 0.92, 0.91, 0.93, 0.90], [0.91, 0.90, 0.92, 0.92, 0.91]),
    ]
    answer = final(compare("s", outcomes, [QUESTION]))
    assert answer.estimate.p < 0.025
    assert answer.without_divergence.n == 5
    assert (answer.verdict, answer.flags[-1]) == ("undecided", "rests on collapse")


def test_equivalence_that_rests_on_shared_divergence_is_undecided(outcome, arms):
    outcomes = arms("digits", [0.910, 0.914, 0.906, 0.912], [0.914, 0.910, 0.911, 0.908])
    for block in range(4, 30):
        outcomes += [
            outcome(arm, "digits", block, 0.1, state="diverged") for arm in ("thermolion", "adamw")
        ]
    answer = final(compare("s", outcomes, [QUESTION]))
    assert (answer.verdict, answer.flags[-1]) == ("undecided", "rests on collapse")


def test_an_arm_that_always_fails_where_the_other_never_does_is_worse(outcome, arms):
    outcomes = [
        *(one for one in arms("digits", A, B) if one.trial.candidate.name == "adamw"),
        *(outcome("thermolion", "digits", block, 0.1, state="diverged") for block in range(5)),
    ]
    assert final(compare("s", outcomes, [QUESTION])).verdict == "worse"


def test_a_win_that_rests_on_divergence_is_undecided(outcome, arms):
    good = [0.900, 0.901, 0.902, 0.903]
    other = [0.901, 0.900, 0.903, 0.902]
    outcomes = arms("digits", good + good, other + other)
    for block in range(2, 8):
        outcomes[8 + block] = outcome("adamw", "digits", block, 0.1, state="diverged")
    found = compare("s", outcomes, [QUESTION])
    assert final(found).estimate.p < 0.025
    assert final(found).verdict == "undecided"
    assert "rests on collapse" in final(found).flags


def test_workloads_with_too_few_blocks_are_not_pooled(arms):
    outcomes = arms("digits", A, B) + arms("mnist", A[:1], B[:1])
    answer = final(compare("s", outcomes, [QUESTION]))
    assert answer.workloads == ("digits",)
    assert "partial" in answer.flags
    assert answer.estimate.n == 5


def test_pooling_is_the_plain_average_over_workloads(arms):
    outcomes = arms("digits", A, B) + arms("mnist", [0.5, 0.53], [0.51, 0.52])
    found = compare("s", outcomes, [QUESTION])
    means = [final(found, name).estimate.mean for name in ("digits", "mnist")]
    assert final(found).estimate.mean == pytest.approx(sum(means) / 2)


def test_a_replication_is_measured_on_its_training_data_and_says_so(arms):
    found = compare("s", arms("mnist", A, B, split="replication"), [QUESTION])
    assert [one.measure for one in found.pooled] == ["final_test_accuracy", "train_auc"]
    assert "40-step training-set speed, no held-out validation data" in verdict_text(found)


def test_without_a_question_there_is_a_summary_and_no_verdict(study):
    found = compare("s", study(), [])
    assert not found.pooled
    assert len(found.summaries) == 9
    text = verdict_text(found)
    assert "`baseline: lion`" in text
    assert "compare:" in text
    assert "97.06" in text


def test_a_question_about_nobody_names_the_choices(arms):
    with pytest.raises(
        ComparisonError, match="'sgd': candidates with trials are thermolion, adamw"
    ):
        compare("s", arms("digits", A, B), [Question("thermolion", "sgd")])


def test_a_comparison_becomes_json(study):
    record = json.loads(json.dumps(compare("s", study(), [QUESTION]).to_json(), allow_nan=False))
    assert record["version"] == 1
    assert record["pooled"][0]["estimate"]["n"] == 15
    # Scripts read these words: they outlive the names in the code.
    assert record["workloads"][0].keys() >= {"is_own", "reading"}
    assert {"level_b", "failures", "pooled", "questions"} <= record.keys()


def test_the_text_never_overclaims(study):
    text = verdict_text(compare("s", study(), [QUESTION, Question("lion", "adamw")])).lower()
    for word in ("significant", "generalis", "generaliz", "state of the art", "equal"):
        assert word not in text
    assert "about these data sets, with new seeds" in text


def test_the_table_holds_the_known_figures_in_line(arms):
    text = verdict_text(compare("s", arms("digits", A, B), [QUESTION]))
    row, *candidates = [line for line in text.splitlines() if line.startswith("digits ")]
    assert "+0.40 [+0.15, +0.65]" in row
    assert [line.split()[1:4] for line in candidates] == [
        ["thermolion", "5", f"{20 * sum(A):.2f}"],
        ["adamw", "5", f"{20 * sum(B):.2f}"],
    ]
    header = next(line for line in text.splitlines() if line.startswith("thermolion vs adamw  "))
    assert row.index("better") == header.index("verdict")


def test_a_pooled_sentence_names_the_range_of_the_workloads_and_who_says_the_opposite(arms):
    steady = [0.001 * (-1) ** block for block in range(6)]
    gains = {"dig-mlp": -0.0096, "digits": 0.0115, "usps": 0.032}
    outcomes = [
        one
        for name, gain in gains.items()
        for one in arms(name, [0.9 + gain + s for s in steady], [0.9 - s / 2 for s in steady])
    ]
    found = compare("s", outcomes, [QUESTION])
    first = next(line for line in verdict_text(found).splitlines() if "in final test" in line)
    assert "better in final test accuracy: +1.13 pp on average, from -0.96 on dig-mlp" in first
    assert "to +3.20 on usps" in first
    assert "6 seeds on each of 3 workloads. But worse on dig-mlp" in first


def test_a_sentence_names_five_workloads_at_the_most_and_a_table_all_of_them(arms, tmp_path):
    names = [f"set{number:02}" for number in range(48)]
    outcomes = [one for name in names for one in arms(name, A[:3], B[:3])]
    found = compare("s", outcomes, [QUESTION])
    text = verdict_text(found)
    (claim,) = [line for line in text.splitlines() if line.startswith("About these")]
    assert "set00, set01, set02, set03, set04 and 43 more" in claim
    assert "and 19 more rows, listed in the report" in text
    write_report(found, outcomes, tmp_path)
    rows = (tmp_path / "report.md").read_text().splitlines()
    assert {row.split(" | ")[0].removeprefix("| ") for row in rows} >= set(names)


def test_no_p_value_is_printed_as_zero(arms):
    """Workloads that disagree far beyond their noise have a heterogeneity with p below 1e-9."""
    far = [[0.5 + gain + s for s in (0.0, 0.001, 0.002)] for gain in (0.3, -0.3)]
    outcomes = [*arms("a", far[0], [0.5, 0.502, 0.501]), *arms("b", far[1], [0.5, 0.5, 0.501])]
    found = compare("s", outcomes, [QUESTION])
    cells = sensitivity(found, QUESTION).rows[0]
    assert cells[-1].endswith(", p < 0.001")
    assert p_value(0.0) == "<0.001"
    assert (p_value(0.0004, 1e-9), p_value(0.0994), p_value(0.5)) == ("0.0004", "0.099", "0.50")
