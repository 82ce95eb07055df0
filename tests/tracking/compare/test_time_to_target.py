"""Time to target: the known answer through a study, censoring, divergence, words and figure."""

import math
from dataclasses import replace

import pytest
from scipy import stats

from jobs.contract.workloads.workload import MetricSpec
from tracking.compare.compare import compare
from tracking.questions.analysis import Question
from tracking.questions.interim import Look, Looks
from tracking.questions.units import Units
from tracking.report.page import write_report
from tracking.report.terminal import verdict_text

QUESTION = Question("thermolion", "adamw")
T1 = [3, 4, 4, 6, None]
T2 = [5, 7, 8, None, None]


def aimed(outcome, target):
    workload = outcome.trial.workload
    reading = replace(workload.metric_spec, target=target)
    return replace(
        outcome, trial=replace(outcome.trial, workload=replace(workload, declared_metric=reading))
    )


def timed(outcome, candidate, block, step, workload="digits", steps=12, **changes):
    """Return a trial of 12 steps that is above 0.8 from `step` on, or never."""
    high = steps + 1 if step is None else step
    noise = block / 1000
    curve = [(i, 0.1 if i == 0 else (0.7 if i < high else 0.9) + noise) for i in range(steps + 1)]
    made = outcome(candidate, workload, block, 0.9 + noise, curve, **changes)
    return aimed(replace(made, started={**made.started, "steps": steps}), 0.8)


def study_of(outcome, first=T1, second=T2, workload="digits"):
    return [
        timed(outcome, name, block, step, workload)
        for name, arm in (("thermolion", first), ("adamw", second))
        for block, step in enumerate(arm)
    ]


def test_the_known_answer_comes_through(outcome):
    found = compare("s", study_of(outcome), [QUESTION]).time_to_target
    one, other = found.arms
    assert (one.restricted_mean, one.restricted_mean_se) == pytest.approx((5.8, 2.112**0.5))
    assert (other.restricted_mean, other.restricted_mean_se) == pytest.approx((8.8, 1.552**0.5))
    assert (one.median, other.median) == (4, 8)
    assert one.steps_per_success == pytest.approx(7.25)
    assert (one.reached, other.reached) == (4, 3)
    pooled, single = found.speedups
    assert pooled.factor[0] == pytest.approx(1.6345, abs=1e-4)
    assert (single.saved.mean, single.saved.p) == pytest.approx((3.0, 0.0399), abs=1e-4)
    assert single.log_rank_p == pytest.approx(0.201244, abs=1e-6)


def test_the_first_evaluation_at_the_target_counts_or_two_in_a_row(outcome):
    lucky = timed(outcome, "thermolion", 0, None)
    early = replace(lucky.curve[2], metrics={**lucky.curve[2].metrics, "val_accuracy": 0.81})
    lucky = replace(lucky, curve=(*lucky.curve[:2], early, *lucky.curve[3:]))
    outcomes = [lucky, *study_of(outcome)[1:]]
    found = compare("s", outcomes, [QUESTION]).time_to_target
    assert found.arms[0].times[0] == (0, 2)
    single = found.speedups[1]
    assert single.confirmed.mean == pytest.approx(single.log_ratio.mean + math.log(2 / 12) / 5)


def test_lower_is_better_if_the_metric_is_declared_so(user_outcome):
    reading = MetricSpec("val_loss", goal="min", target=3.0)
    outcomes = [
        user_outcome(
            name, block=block, reading=reading, curve=[(0, 4.0), (first + block, 2.9), (100, 2.5)]
        )
        for name, first in (("thermolion", 20), ("adamw", 40))
        for block in range(5)
    ]
    found = compare("s", outcomes, [QUESTION]).time_to_target
    assert [arm.times[0][1] for arm in found.arms] == [20, 40]
    assert found.speedups[0].word == "faster"


def test_swapping_the_arms_inverts_the_factor(outcome):
    there, back = (
        compare("s", study_of(outcome), [question]).time_to_target.speedups[0]
        for question in (QUESTION, Question("adamw", "thermolion"))
    )
    assert there.factor[0] == pytest.approx(1 / back.factor[0])
    assert there.log_ratio.p == pytest.approx(back.log_ratio.p)
    assert there.factor[1] == pytest.approx(1 / back.factor[2])


def test_a_diverged_trial_never_reached_it_and_is_not_missing(outcome):
    outcomes = study_of(outcome)
    outcomes[0] = replace(outcomes[0], state="diverged")
    found = compare("s", outcomes, [QUESTION]).time_to_target
    assert found.arms[0].times[0] == (0, None)
    assert found.arms[0].restricted_mean == pytest.approx((12 + 4 + 4 + 6 + 12) / 5)


def test_a_target_that_nobody_reaches_is_said_and_crashes_nothing(outcome, tmp_path):
    outcomes = study_of(outcome, [None] * 3, [None] * 3)
    comparison = compare("s", outcomes, [QUESTION])
    for one in comparison.time_to_target.speedups:
        assert (one.word, one.p_valid, one.p_adjusted) == ("not reached", None, None)
        assert (one.factor, one.saved, one.log_rank_p) == (None, None, None)
    assert "not reached by any trial of either: the target" in verdict_text(comparison)
    page = write_report(comparison, outcomes, tmp_path).read_text()
    assert "not reached by half" in page


def test_a_baseline_that_never_reaches_it_gives_a_factor_of_the_whole_budget(outcome):
    comparison = compare("s", study_of(outcome, [3, 4, 6], [None] * 3), [QUESTION])
    (pooled, _) = comparison.time_to_target.speedups
    expected = math.exp(sum(math.log(12 / t) for t in (3, 4, 6)) / 3)
    assert pooled.factor[0] == pytest.approx(expected)
    text = verdict_text(comparison)
    assert f"at least {expected:.2f} times as fast" in text
    assert "3 of 3 trials reached it against 0" in text


def test_a_model_that_starts_at_the_target_is_left_out_by_name(outcome, tmp_path):
    outcomes = [aimed(one, 0.05) for one in study_of(outcome)]
    comparison = compare("s", outcomes, [QUESTION])
    assert len(comparison.time_to_target.problems) == 10
    page = write_report(comparison, outcomes, tmp_path).read_text()
    assert "the untrained model is at the target already" in page


def test_without_a_target_nothing_is_said_of_one(study, tmp_path):
    comparison = compare("s", study(2), [QUESTION])
    assert comparison.time_to_target.speedups == ()
    assert "to the target" not in verdict_text(comparison)
    page = write_report(comparison, study(2), tmp_path).read_text()
    assert "Time to target" not in page


def test_several_workloads_are_pooled_as_factors(outcome):
    outcomes = study_of(outcome) + study_of(outcome, [2, 3, 4, 3], [4, 6, 8, 6], "kmnist")
    comparison = compare("s", outcomes, [QUESTION])
    pooled, *singles = comparison.time_to_target.answers(QUESTION)
    product = singles[0].factor[0] * singles[1].factor[0]
    assert pooled.factor[0] == pytest.approx(product**0.5)
    assert pooled.saved is None
    text = verdict_text(comparison)
    assert "times as fast, 95% CI [" in text


def test_the_page_draws_who_got_there(outcome, tmp_path):
    outcomes = study_of(outcome)
    page = write_report(compare("s", outcomes, [QUESTION]), outcomes, tmp_path).read_text()
    assert "Share of runs on digits that reached 80.00 % by a step: thermolion 4 of 5" in page
    assert "1.63 [" in page
    assert "a target is that of the sweep" in page.lower()


EARLY = [(3, 6), (4, 9), (3, 6), (4, 8), (5, 10)]


def pairs_of(outcome, pairs, workload="digits"):
    return study_of(outcome, *map(list, zip(*pairs, strict=True)), workload)


def test_at_a_look_the_p_value_pays_for_all_looks(outcome):
    seeds = (5, 10)
    pairs = [(5, 7), (6, 8), (5, 9), (8, 9), (7, 8)]
    plain = compare("s", pairs_of(outcome, pairs), [QUESTION]).time_to_target.speedups[0]
    assert (plain.word, plain.p_valid) == ("faster", plain.log_ratio.p)
    found = compare("s", pairs_of(outcome, pairs), [QUESTION], looks=Looks(seeds, complete=1))
    pooled, single = found.time_to_target.speedups
    for one in (pooled, single):
        assert one.log_ratio.p == plain.log_ratio.p < 0.05
        assert one.p_valid == pytest.approx(Look(1, seeds, "obrien-fleming").p(plain.log_ratio.p))
        assert (one.word, one.reached.look, one.log_rank_p) == ("undecided", 1, None)
        assert one.factor[1] < 1 < one.factor[0]  # the interval of the look is wider


def test_what_a_look_has_decided_stays_with_the_factor_and_interval_of_that_look(outcome):
    pairs = [*EARLY, *((late, early) for early, late in EARLY)]
    looks = Looks((5, 10), complete=1)
    first = compare("s", pairs_of(outcome, pairs), [QUESTION], looks=looks)
    later = compare("s", pairs_of(outcome, pairs), [QUESTION], looks=replace(looks, complete=2))
    for before, one in zip(
        first.time_to_target.speedups, later.time_to_target.speedups, strict=True
    ):
        assert (before.word, before.n, before.trials) == ("faster", 5, 5)
        assert before.factor[1] > 1
        assert one == before
    assert later.time_to_target.arms[0].times[-1][0] == 9


def test_the_blocks_of_a_search_count_as_one(outcome):
    pairs = [(3, 5), (4, 6), (4, 9), (6, 11), (5, 6), (2, 4), (4, 4), (5, 9), (7, 8), (3, 8)]
    units = Units(5, frozenset({"thermolion"}))
    comparison = compare("s", pairs_of(outcome, pairs), [QUESTION], units=units)
    pooled, single = comparison.time_to_target.speedups
    ratios = [math.log(late / early) for early, late in pairs]
    means = [(ratios[unit] + ratios[unit + 5]) / 2 for unit in range(5)]
    oracle = stats.ttest_1samp(means, 0)
    for one in (pooled, single):
        assert (one.n, one.trials, one.log_rank_p) == (5, 10, None)
        assert (one.log_ratio.mean, one.p_valid) == pytest.approx((sum(means) / 5, oracle.pvalue))


def test_if_one_arm_reaches_it_more_often_the_factor_is_a_bound(outcome, tmp_path):
    pairs = [(5 + i % 3, 9 + i % 2 if i < 8 else None) for i in range(14)]
    outcomes = pairs_of(outcome, pairs)
    questions = [QUESTION, Question("adamw", "thermolion")]
    comparison = compare("s", outcomes, questions)
    there, back = comparison.time_to_target.speedups[:2]
    assert (there.word, there.bound) == ("faster", "at least")
    assert (back.word, back.bound) == ("slower", "at most")
    text = verdict_text(comparison)
    assert f"at least {there.factor[0]:.2f} times as fast" in text
    assert "14 of 14 trials reached it against 8. Trials that did not reach it count" in text
    page = write_report(comparison, outcomes, tmp_path).read_text()
    assert f"at least {there.factor[0]:.2f} [" in page
    alike = pairs_of(outcome, [(3, 5), (None, 6), (4, None), (5, 7), (2, 6)])
    assert compare("s", alike, [QUESTION]).time_to_target.speedups[0].bound is None


def test_who_reaches_it_less_often_is_not_called_faster(outcome):
    # Without a budget the one run that missed it may take any number of steps.
    pairs = [*[(3, 7 + i % 3) for i in range(13)], (None, 11)]
    questions = [QUESTION, Question("adamw", "thermolion")]
    comparison = compare("s", pairs_of(outcome, pairs), questions)
    there, back = comparison.time_to_target.speedups[:2]
    assert (there.log_ratio.p < 0.001, there.p_valid, there.p_adjusted) == (True, None, None)
    assert (there.word, there.bound) == ("undecided", "at most")
    assert (back.word, back.bound) == ("undecided", "at least")
    text = verdict_text(comparison)
    assert "13 of 14 trials reached it against 14" in text
    assert text.count("Who reached it less often is not called faster.") == 2


def test_a_workload_on_which_neither_reaches_it_takes_no_part_and_says_so(outcome):
    never = pairs_of(outcome, [(None, None)] * 5, "kmnist")
    comparison = compare("s", pairs_of(outcome, EARLY) + never, [QUESTION])
    pooled, reached, missed = comparison.time_to_target.answers(QUESTION)
    assert (pooled.workloads, pooled.word, missed.word) == (("digits",), "faster", "not reached")
    assert pooled.log_ratio == reached.log_ratio
    assert missed.p_adjusted is None


def test_two_pairs_a_workload_give_no_word_however_clear_they_are(outcome):
    for pairs, workloads in (([(3, 9), (3, 10)], 3), (EARLY[:4], 1)):
        outcomes = [
            one
            for number in range(workloads)
            for one in pairs_of(outcome, pairs, f"digits{number}")
        ]
        comparison = compare("s", outcomes, [QUESTION])
        for one in comparison.time_to_target.speedups:
            assert (one.word, "too few units" in one.flags) == ("undecided", True)
        assert comparison.time_to_target.speedups[0].log_ratio.p < 0.05
        assert comparison.time_to_target.speedups[0].p_adjusted is None
        assert "A word needs five seeds" in verdict_text(comparison)


def cut(one, last):
    """Return the trial without what it logged after a step."""
    return replace(one, curve=tuple(point for point in one.curve if point.step <= last))


@pytest.mark.parametrize(("arm", "word"), [("thermolion", "undecided"), ("adamw", "faster")])
def test_an_arm_whose_curve_ends_before_the_budget_is_not_called_faster(outcome, arm, word):
    more = [timed(outcome, name, 5, None) for name in ("thermolion", "adamw")]
    more = [cut(one, 8) if one.trial.candidate.name == arm else one for one in more]
    comparison = compare("s", [*pairs_of(outcome, EARLY), *more], [QUESTION])
    for one in comparison.time_to_target.speedups:
        assert (one.word, one.trials) == (word, 5)
        assert one.flags == ("lost candidate" if arm == "thermolion" else "lost baseline",)
        assert (one.p_adjusted is None) == (word == "undecided")
    (problem,) = comparison.time_to_target.problems
    assert problem == ("digits", arm, 5, "has val_accuracy up to step 8 of 12")
    assert ("their curves end early" in verdict_text(comparison)) == (word == "undecided")


def test_if_no_trial_logs_its_last_steps_the_budget_ends_with_the_last_ones_logged(outcome):
    pairs = [*EARLY, (4, None), (None, None)]
    comparison = compare("s", [cut(one, 10) for one in pairs_of(outcome, pairs)], [QUESTION])
    pooled = comparison.time_to_target.speedups[0]
    assert (pooled.trials, pooled.flags, comparison.time_to_target.problems) == (7, (), ())
    assert (pooled.candidate_reached, pooled.baseline_reached) == (6, 5)
    assert {arm.horizon for arm in comparison.time_to_target.arms} == {10}


def test_longer_curves_of_a_later_look_change_nothing_of_an_earlier_one(outcome):
    pairs = [*EARLY, *((late, early) for early, late in EARLY)]
    outcomes = [
        cut(one, 10) if one.trial.block < 5 else one
        for one in pairs_of(outcome, [*EARLY[:4], (5, None), *pairs[5:]])
    ]
    looks = Looks((5, 10), complete=1)
    first, later = (
        compare("s", outcomes, [QUESTION], looks=replace(looks, complete=k)).time_to_target
        for k in (1, 2)
    )
    assert [one.word for one in first.speedups] == ["faster"] * 2
    assert later.speedups == first.speedups


@pytest.mark.parametrize(("arm", "word"), [("thermolion", "undecided"), ("adamw", "faster")])
def test_an_arm_that_lost_trials_by_its_own_doing_is_not_called_faster(outcome, arm, word):
    outcomes = pairs_of(outcome, EARLY)
    gone = timed(outcome, arm, 5, None, state="failed", error="too much", kind="MemoryError")
    found = compare("s", [*outcomes, gone], [QUESTION]).time_to_target.speedups
    assert [one.word for one in found] == [word] * 2
    of_the_machine = replace(gone, error="no data", kind="OSError")
    kept = compare("s", [*outcomes, of_the_machine], [QUESTION], given_up={gone.trial.id: "LOST"})
    assert [one.word for one in kept.time_to_target.speedups] == ["faster"] * 2
