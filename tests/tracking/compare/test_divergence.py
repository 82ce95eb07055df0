"""Failures as an endpoint: paired counts, the exact test, and the words for them."""

import csv
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from tracking.compare.compare import compare
from tracking.compare.divergence import mcnemar_p
from tracking.questions.analysis import Question
from tracking.questions.interim import Look, Looks
from tracking.questions.units import Units
from tracking.report.page import write_report
from tracking.report.terminal import verdict_text

QUESTION = Question("thermolion", "adamw")
OTHER = Question("lion", "adamw")


def lost(outcome, candidate, block, workload="digits"):
    return outcome(candidate, workload, block, 0.1, curve=[(0, 0.1)], state="diverged")


def with_losses(arms, outcome, blocks, workload="digits"):
    """Return a study in which thermolion diverged in some blocks, and adamw never."""
    steady = arms(
        workload, [0.91 + i / 1000 for i in range(12)], [0.9 + i / 1500 for i in range(12)]
    )
    for block in blocks:
        steady[block] = lost(outcome, "thermolion", block, workload)
    return steady


def test_the_exact_test_gives_the_known_answer():
    assert mcnemar_p(3, 0) == pytest.approx(0.25)
    assert mcnemar_p(0, 0) is None


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_exact_test_agrees_with_statsmodels(first, second):
    if first + second:
        oracle = mcnemar([[5, first], [second, 7]], exact=True).pvalue
        assert mcnemar_p(first, second) == pytest.approx(oracle)


def test_a_candidate_that_diverges_in_a_third_of_its_seeds_is_flagged_and_not_averaged_away(
    arms, outcome, tmp_path
):
    outcomes = with_losses(arms, outcome, (0, 3, 5, 8))
    comparison = compare("s", outcomes, [QUESTION])
    (found,) = comparison.divergence
    assert (found.n, found.candidate_diverged, found.baseline_diverged) == (12, 4, 0)
    assert (found.p, found.word) == (pytest.approx(0.125), "undecided")
    text = verdict_text(comparison)
    assert "undecided in failures: thermolion diverged in 4 of 12 [10%, 65%]" in text
    assert "adamw diverged in 0 of 12 [0%, 26%]" in text
    assert "(collapse)" in text
    page = write_report(comparison, outcomes, tmp_path).read_text()
    assert "4 of 12" in page
    assert "McNemar" in page
    with (tmp_path / "numbers/failures.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["candidate"], row["baseline"]) == ("thermolion", "adamw")
    assert (row["candidate_diverged"], row["baseline_diverged"], row["n"]) == ("4", "0", "12")


def test_blocks_of_workloads_that_share_their_seeds_are_counted_once(arms, outcome):
    one = with_losses(arms, outcome, range(7))
    other = [
        replace(
            of, trial=replace(of.trial, workload=replace(of.trial.workload, name="b", ranks=2))
        )
        for of in one
    ]
    (alone,) = compare("s", one, [QUESTION]).divergence
    (both,) = compare("s", one + other, [QUESTION]).divergence
    assert (alone.p, alone.candidate_diverged) == (pytest.approx(2 / 2**7), 7)
    assert (both.p, both.candidate_diverged) == (alone.p, 14)


def test_failing_far_more_often_is_worse_over_all_workloads(arms, outcome):
    outcomes = [
        one
        for workload in ("digits", "kmnist")
        for one in with_losses(arms, outcome, (0, 3, 5, 8), workload)
    ]
    (found,) = compare("s", outcomes, [QUESTION]).divergence
    assert (found.n, found.only_candidate, found.word) == (24, 8, "worse")
    (back,) = compare("s", outcomes, [Question("adamw", "thermolion")]).divergence
    assert (back.p, back.word) == (found.p, "better")


def test_questions_are_a_family_of_their_own(arms, outcome):
    outcomes = with_losses(arms, outcome, (0, 3, 5, 8))
    outcomes += [outcome("lion", "digits", block, 0.9 + block / 900) for block in range(12)]
    first, second = compare("s", outcomes, [QUESTION, OTHER]).divergence
    assert first.p_adjusted == pytest.approx(2 * first.p)
    assert (second.p, second.word) == (None, "none")


def test_losses_in_the_same_blocks_set_nobody_apart(arms, outcome):
    outcomes = with_losses(arms, outcome, (0, 3))
    for block in (0, 3):
        outcomes[12 + block] = lost(outcome, "adamw", block)
    comparison = compare("s", outcomes, [QUESTION])
    assert comparison.divergence[0].p is None
    assert "nothing sets them apart" in verdict_text(comparison)


def test_a_diverged_trial_without_a_value_is_still_a_failure(user_outcome):
    """Own training that declares no chance: its block is incomplete, its failure is not lost."""
    outcomes = [
        user_outcome(name, block=block) for name in ("thermolion", "adamw") for block in range(3)
    ]
    outcomes[1] = user_outcome("thermolion", block=1, state="diverged")
    comparison = compare("s", outcomes, [QUESTION])
    assert len(comparison.incomplete) == 1
    assert (comparison.divergence[0].n, comparison.divergence[0].candidate_diverged) == (3, 1)


def test_a_trial_at_chance_is_a_result_like_any_other_and_flagged(arms, outcome, tmp_path):
    outcomes = with_losses(arms, outcome, ())
    why = "val_accuracy 0.102 at the end, chance is 0.100"
    outcomes[3] = outcome("thermolion", "digits", 3, 0.104, curve=[(0, 0.1), (40, 0.102)])
    outcomes[3] = replace(outcomes[3], at_chance=why)
    comparison = compare("s", outcomes, [QUESTION])
    assert comparison.divergence[0].word == "none"
    pooled = comparison.pooled[0]
    assert (pooled.divergences, "at chance" in pooled.flags) == ((0, 0), True)
    values = [0.91 + i / 1000 for i in range(12)]
    values[3] = 0.104
    assert comparison.summaries[0].mean_final == pytest.approx(100 * sum(values) / 12)
    page = write_report(comparison, outcomes, tmp_path).read_text()
    assert f"thermolion: {why}" in page
    assert "no better than chance at their end" in page


def test_a_trial_that_failed_on_the_machine_is_no_failure_of_the_candidate(arms, outcome):
    outcomes = with_losses(arms, outcome, ())
    outcomes[2] = outcome("thermolion", "digits", 2, state="failed", error="OSError: no data")
    (found,) = compare("s", outcomes, [QUESTION]).divergence
    assert (found.n, found.word) == (11, "none")
    assert "in failures" not in verdict_text(compare("s", outcomes, [QUESTION]))


def test_at_a_look_the_exact_test_pays_for_all_looks_and_what_it_has_decided_stays(arms, outcome):
    """Nine of the first ten units; then as many of the others, which takes nothing back."""
    low, high = [0.9 + i / 1500 for i in range(20)], [0.91 + i / 1000 for i in range(20)]
    outcomes = arms("digits", high, low)
    for block in range(9):
        outcomes[block] = lost(outcome, "thermolion", block)
        outcomes[31 + block] = lost(outcome, "adamw", 11 + block)
    looks = Looks((10, 20), complete=1)
    (first,) = compare("s", outcomes, [QUESTION], looks=looks).divergence
    plain = mcnemar_p(9, 0)
    assert first.p == pytest.approx(Look(1, (10, 20), "obrien-fleming").p(plain))
    assert first.p > plain
    assert (first.word, first.n, first.reached.look) == ("worse", 10, 1)
    (second,) = compare("s", outcomes, [QUESTION], looks=replace(looks, complete=2)).divergence
    assert (second.word, second.n, second.reached.look, second.p) == ("worse", 10, 1, first.p)


def test_searches_are_compared_by_how_often_each_side_diverged_in_them(arms, outcome):
    outcomes = with_losses(arms, outcome, (0, 1, 2, 3, 4, 5, 6, 7))
    for block in (0, 1, 2, 8):
        outcomes[12 + block] = lost(outcome, "adamw", block)
    units = Units(6, frozenset({"thermolion"}))
    (found,) = compare("s", outcomes, [QUESTION], units=units).divergence
    # Of searches 0 to 5: 2-1, 2-1, 1-2, 1-0, 1-0, 1-0.
    assert (found.candidate_diverged, found.baseline_diverged, found.n) == (8, 4, 12)
    assert (found.only_candidate, found.only_baseline) == (5, 1)
    assert found.p == pytest.approx(mcnemar_p(5, 1))


def test_an_arm_that_lost_trials_by_its_own_doing_is_not_called_better_in_failures(arms, outcome):
    outcomes = [
        one
        for workload in ("digits", "kmnist")
        for one in with_losses(arms, outcome, (0, 3, 5, 8), workload)
    ]
    gone = outcome("adamw", "digits", 11, state="failed", error="too much", kind="MemoryError")
    outcomes[23] = gone
    (found,) = compare("s", outcomes, [QUESTION]).divergence
    assert (found.only_candidate, found.word) == (8, "undecided")
    assert (found.p < 0.05, found.p_adjusted) == (True, None)
    said = "the baseline has lost trials by its own doing, so it is not called better."
    assert said in verdict_text(compare("s", outcomes, [QUESTION]))
    outcomes[23] = replace(gone, error="the node died", kind="OSError")
    (found,) = compare("s", outcomes, [QUESTION], given_up={gone.trial.id: "NODE_FAIL"}).divergence
    assert found.word == "worse"
