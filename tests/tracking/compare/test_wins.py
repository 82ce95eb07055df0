"""Who wins more often: counts by hand, divergence as a loss, looks, searches, and the words."""

import csv
import math
from dataclasses import replace

import pytest
from scipy import stats

from jobs.contract.workloads.workload import MetricSpec
from tracking.compare.compare import compare
from tracking.questions.analysis import Analysis, Question
from tracking.questions.endpoint import FINAL, STANDARD
from tracking.questions.interim import Look, Looks
from tracking.questions.units import Units
from tracking.report.page import write_report
from tracking.report.terminal import verdict_text

QUESTION = Question("thermolion", "adamw")
ON_FINAL = (FINAL,)


def declared(outcomes, endpoints=STANDARD, **changes):
    """Return an analysis of these outcomes that asks who wins more often."""
    workloads = {one.trial.workload.name: one.trial.workload.key for one in outcomes}
    candidates = {one.trial.candidate.name: one.trial.candidate.key for one in outcomes}
    blocks = tuple(sorted({one.trial.block for one in outcomes}))
    return replace(
        Analysis((QUESTION,), workloads, candidates, blocks, endpoints=endpoints),
        primary="win_probability",
        **changes,
    )


def answer(outcomes, endpoints=ON_FINAL, **more):
    analysis = declared(outcomes, endpoints)
    return compare("s", outcomes, [QUESTION], analysis=analysis, **more)


def ahead(n, by=0.01):
    """Return accuracies of both arms, the first ahead by a little everywhere."""
    return [0.9 + by + i / 1000 for i in range(n)], [0.9 + i / 1100 for i in range(n)]


def lost(outcome, candidate, block, workload="digits"):
    return outcome(candidate, workload, block, 0.1, curve=[(0, 0.1)], state="diverged")


def test_six_of_six_win_at_one_test_and_seven_at_two(arms):
    for n, endpoints, word in (
        (6, ON_FINAL, "wins more often"),
        (6, STANDARD, "undecided"),
        (7, STANDARD, "wins more often"),
        (5, ON_FINAL, "undecided"),
    ):
        found = answer(arms("digits", *ahead(n)), endpoints).pooled[0]
        assert (found.verdict, found.wins.won, found.wins.probability) == (word, n, 1)
        assert found.p_valid == 2 / 2**n
        assert found.p_adjusted == pytest.approx(len(endpoints) * 2 / 2**n)
        assert found.equivalence_p is None


def test_a_few_divergences_blur_the_mean_and_not_who_wins(arms, outcome, tmp_path):
    outcomes = [one for name in ("digits", "kmnist") for one in arms(name, *ahead(10), curve=None)]
    outcomes[3] = lost(outcome, "thermolion", 3)
    outcomes[24] = lost(outcome, "thermolion", 4, "kmnist")
    by_mean = compare("s", outcomes, [QUESTION]).pooled[0]
    assert by_mean.verdict == "undecided"
    comparison = answer(outcomes)
    pooled = comparison.pooled[0]
    oracle = stats.binomtest(18, 20)
    assert (pooled.wins.won, pooled.wins.lost, pooled.wins.n) == (18, 2, 20)
    assert pooled.p_valid == pytest.approx(oracle.pvalue)
    interval = oracle.proportion_ci(method="exact")
    assert (pooled.wins.low, pooled.wins.high) == pytest.approx((interval.low, interval.high))
    assert pooled.verdict == "wins more often"
    assert "collapse" not in pooled.flags
    sentence = "in final test accuracy: 18 won, 2 lost, 0 tied of 20 seeds: 90% [68%, 99%]"
    assert f"wins more often {sentence}" in " ".join(verdict_text(comparison).split())
    page = write_report(comparison, outcomes, tmp_path).read_text()
    assert "badge wins-more-often" in page
    assert "wins [95% CI]" in page
    with (tmp_path / "numbers/answers.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["wins_won"], row["wins_lost"], row["verdict"]) == ("18", "2", "wins more often")
    back = compare(
        "s",
        outcomes,
        [Question("adamw", "thermolion")],
        analysis=replace(
            declared(outcomes, ON_FINAL), questions=(Question("adamw", "thermolion"),)
        ),
    ).pooled[0]
    assert (back.verdict, back.p_valid) == ("wins less often", pooled.p_valid)


def test_equal_values_and_two_divergences_are_ties(arms, outcome):
    first, second = ahead(9)
    first[0] = second[0]
    outcomes = arms("digits", first, second)
    outcomes[1] = lost(outcome, "thermolion", 1)
    outcomes[10] = lost(outcome, "adamw", 1)
    outcomes[11] = lost(outcome, "adamw", 2)
    found = answer(outcomes).pooled[0]
    assert (found.wins.won, found.wins.lost, found.wins.n) == (7, 0, 9)
    assert found.wins.probability == pytest.approx(8 / 9)
    assert found.p_valid == 2 / 2**7
    low = stats.binomtest(7, 7).proportion_ci(method="exact").low
    assert found.wins.low == pytest.approx((7 * low + 1) / 9)


def test_a_diverged_trial_without_a_value_has_lost(user_arms, user_outcome):
    """A training that declares no chance: nothing stands for the trial in a mean."""
    outcomes = user_arms([2.0 + i / 100 for i in range(8)], [2.5 + i / 90 for i in range(8)])
    nan = [(0, 4.0), (50, math.nan)]
    outcomes[0] = user_outcome("thermolion", "lm", 0, nan, state="diverged")
    outcomes[9] = user_outcome("adamw", "lm", 1, nan, state="diverged")
    for one in answer(outcomes, STANDARD).pooled:
        assert (one.wins.won, one.wins.lost, one.wins.n) == (7, 1, 8)
        assert one.estimate.n == 6
        assert not {"lost candidate", "lost baseline"} & set(one.flags)


def test_wins_are_pooled_over_workloads_of_unlike_units(arms, user_arms):
    low = [2.0 + i / 100 for i in range(5)]
    reading = MetricSpec("val_loss", goal="min")
    high = [one + 1 for one in low]
    outcomes = arms("digits", *ahead(5)) + user_arms(low, high, reading=reading)
    pooled = answer(outcomes).pooled[0]
    assert (pooled.wins.won, pooled.wins.n, pooled.verdict) == (10, 10, "wins more often")
    assert (pooled.estimate.mean, pooled.unit) == (None, "mixed")


def test_an_arm_that_lost_trials_by_its_own_doing_does_not_win_more_often(arms, outcome):
    outcomes = arms("digits", *ahead(9))
    for arm, word in (("thermolion", "undecided"), ("adamw", "wins more often")):
        gone = outcome(arm, "digits", 9, state="failed", error="too much", kind="MemoryError")
        other = {"thermolion": "adamw", "adamw": "thermolion"}[arm]
        rest = [gone, outcome(other, "digits", 9, 0.9)]
        found = answer([*outcomes, *rest], given_up={gone.trial.id: "OOM_HOST"}).pooled[0]
        assert found.verdict == word
        assert found.p_valid == (None if word == "undecided" else 2 / 2**9)


def test_two_units_on_each_workload_are_too_few(arms):
    outcomes = [one for k in range(5) for one in arms(f"digits{k}", *ahead(2))]
    pooled = answer(outcomes).pooled[0]
    assert (pooled.verdict, "too few units" in pooled.flags) == ("undecided", True)
    assert (pooled.wins.p < 0.05, pooled.p_adjusted) == (True, None)


def test_at_a_look_the_test_pays_for_all_looks_and_what_it_has_decided_stays(arms):
    first, second = ahead(20)
    first[10:], second[10:] = second[10:], first[10:]
    outcomes, looks = arms("digits", first, second), Looks((10, 20), complete=1)
    at_first = answer(outcomes, looks=looks)
    one = at_first.pooled[0]
    assert one.p_valid == pytest.approx(Look(1, (10, 20), "obrien-fleming").p(2 / 2**10))
    assert (one.verdict, one.wins.n, one.reached.look) == ("wins more often", 10, 1)
    assert one.wins.low > 0.5
    (row,) = at_first.ledger
    assert (row.p, row.word, row.decided) == (2 / 2**10, "wins more often", True)
    later = answer(outcomes, looks=replace(looks, complete=2)).pooled[0]
    assert (later.verdict, later.wins, later.reached.look) == ("wins more often", one.wins, 1)
    small = answer(outcomes, looks=Looks((7, 20), complete=1)).pooled[0]
    assert (small.verdict, small.p_valid > 2 / 2**7) == ("undecided", True)


def test_the_blocks_of_a_search_are_one_unit(arms, outcome):
    first, second = ahead(14)
    first[0] = second[0] - 0.5  # its search is lost: the mean over both of its blocks
    outcomes = arms("digits", first, second)
    outcomes[1] = lost(outcome, "thermolion", 1)
    outcomes[16] = lost(outcome, "adamw", 2)
    units = Units(7, frozenset({"thermolion"}))
    found = answer(outcomes, units=units).pooled[0]
    assert (found.wins.won, found.wins.lost, found.wins.n) == (5, 2, 7)


def test_an_open_question_has_no_wins(arms, outcome):
    outcomes = arms("digits", *ahead(7))
    outcomes.append(outcome("thermolion", "digits", 7, state="waiting"))
    for one in answer(outcomes).pooled:
        assert (one.verdict, one.wins, one.p_valid) == (None, None, None)


def test_without_a_frozen_analysis_verdicts_are_about_means(arms):
    comparison = compare("s", arms("digits", *ahead(7)), [QUESTION])
    assert comparison.primary == "mean"
    assert comparison.pooled[0].wins is None
