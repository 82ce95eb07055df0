"""Answers that count searches: blocks trained with the settings of one search are one."""

from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from jobs.contract.trial import Candidate
from tracking.compare.compare import compare
from tracking.compare.endpoints import ComparisonError
from tracking.questions.analysis import Analysis, Question, find_added
from tracking.questions.endpoint import FINAL
from tracking.questions.interim import Looks
from tracking.questions.units import Units
from tracking.stats.variance_components import estimate_components

QUESTION = Question("thermolion", "adamw")
A = [0.9120, 0.9085, 0.9140, 0.9105, 0.9130, 0.9160, 0.9075, 0.9130, 0.9125, 0.9100]
B = [0.9070, 0.9060, 0.9095, 0.9090, 0.9065, 0.9080, 0.9085, 0.9055, 0.9075, 0.9095]
FIVE = Units(5, frozenset({"thermolion", "adamw"}))


def final(found, workload=None, question=QUESTION):
    rows = found.pooled if workload is None else found.by_workload
    (one,) = [
        one
        for one in rows
        if (one.endpoint, one.workload, one.question) == (FINAL, workload, question)
    ]
    return one


def by_search(values, searches=5):
    return [fmean(values[s::searches]) for s in range(searches)]


def retuned(outcome, lr):
    """Return the outcome of a candidate of the same name with a setting of its own."""
    arm = outcome.trial.candidate
    setting = Candidate(arm.name, arm.optimizer, {"lr": lr})
    return replace(outcome, trial=replace(outcome.trial, candidate=setting))


def test_the_blocks_of_one_search_count_as_one(arms):
    found = final(compare("s", arms("digits", A, B), [QUESTION], units=FIVE))
    expected = stats.ttest_rel(by_search(A), by_search(B))
    assert (found.estimate.n, found.estimate.df) == (5, 4)
    assert found.estimate.p == pytest.approx(expected.pvalue)
    assert found.estimate.mean == pytest.approx(100 * (fmean(A) - fmean(B)))
    interval = expected.confidence_interval()
    assert (found.estimate.low, found.estimate.high) == pytest.approx(
        (100 * interval.low, 100 * interval.high)
    )
    d = np.subtract(by_search(A), by_search(B))
    flips = stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert found.sensitivity.sign_flip_p == pytest.approx(flips)
    assert found.sensitivity.signed_rank_p == pytest.approx(stats.wilcoxon(d).pvalue)
    assert found.superiority.n == 5
    on_digits = final(compare("s", arms("digits", A, B), [QUESTION], units=FIVE), "digits")
    assert [unit for unit, _ in on_digits.paired] == [0, 1, 2, 3, 4]
    assert [value for _, value in on_digits.paired] == pytest.approx(list(100 * d))


def _on_ranks(outcomes, ranks):
    """Return the same trials on a workload that differs in ranks alone."""
    return [
        replace(one, trial=replace(one.trial, workload=replace(of, ranks=ranks, name="on two")))
        for one in outcomes
        for of in [one.trial.workload]
    ]


def test_workloads_that_differ_in_ranks_alone_are_no_repetitions_of_each_other(arms):
    one, other = arms("digits", A, B), arms("letters", A[:8], B[:8])
    alone = final(compare("s", one, [QUESTION]))
    twice = final(compare("s", one + _on_ranks(one, 2), [QUESTION]))
    assert (twice.estimate.n, twice.estimate.df) == (10, 9)
    assert (twice.estimate.p, twice.estimate.low, twice.estimate.high) == pytest.approx(
        (alone.estimate.p, alone.estimate.low, alone.estimate.high)
    )
    assert "shared seeds" in twice.flags
    assert twice.sensitivity is None
    # Beside a workload of its own: Welch's test, with twice the weight and one variance.
    found = final(compare("s", one + _on_ranks(one, 2) + other, [QUESTION])).estimate
    d, e = (100 * np.subtract(A[:n], B[:n]) for n in (10, 8))
    welch = stats.ttest_ind(2 * d, -e, equal_var=False)
    assert found.n == 18
    assert (found.p, found.df) == pytest.approx((welch.pvalue, welch.df))
    assert found.mean == pytest.approx((2 * d.mean() + e.mean()) / 3)
    searched = final(compare("s", one + _on_ranks(one, 2), [QUESTION], units=FIVE))
    by_itself = final(compare("s", one, [QUESTION], units=FIVE))
    assert searched.estimate.p == pytest.approx(by_itself.estimate.p)
    # Four blocks of each are four: too few for a word.
    few = arms("digits", A[:4], B[:4])
    found = final(compare("s", few + _on_ranks(few, 2), [QUESTION]))
    assert "too few units" in found.flags
    assert found.verdict == "undecided"


def test_workloads_that_differ_in_ranks_alone_are_waited_for_each(arms):
    one = arms("digits", A, B)
    waiting = [
        replace(of, state="waiting", metrics={}) if of.trial.block > 4 else of
        for of in _on_ranks(one, 2)
    ]
    declared = Analysis(
        questions=(QUESTION,),
        workloads={of.trial.workload.name: of.trial.workload.key for of in one + waiting},
        candidates={of.trial.candidate.name: of.trial.candidate.key for of in one},
        blocks=tuple(range(10)),
    )
    (ready,) = compare("s", one + waiting, [QUESTION], analysis=declared).readiness
    assert (ready.arrived, ready.planned, ready.is_open) == (30, 40, True)
    (ready,) = compare("s", one + _on_ranks(one, 2), [QUESTION], analysis=declared).readiness
    assert (ready.arrived, ready.planned, ready.is_open) == (40, 40, False)


def test_of_workloads_with_the_same_seeds_those_that_were_declared_are_known_by_name():
    declared = {"one": "a", "two": "a", "other": "b"}
    assert find_added(declared, {"four": "a", "two": "a", "one": "a", "other": "b"}) == {"four"}
    assert find_added(declared, {"renamed": "a", "two": "a", "new": "c"}) == {"new"}


def test_a_question_about_untuned_candidates_counts_blocks_in_a_tuned_study(arms, outcome):
    other = [outcome("lion", "digits", block, value) for block, value in enumerate(B)]
    asked = [QUESTION, Question("lion", "adamw")]
    units = Units(5, frozenset({"thermolion"}))
    found = compare("s", [*arms("digits", A, B), *other], asked, units=units)
    assert final(found).estimate.n == 5
    assert final(found, question=asked[1]).estimate.n == 10
    assert [units.noun(one) for one in asked] == ["search", "block"]


def test_with_one_search_blocks_count_and_answers_are_about_its_settings(arms):
    units = Units(1, frozenset({"thermolion"}))
    found = compare("s", arms("digits", A, B), [QUESTION], units=units)
    assert final(found).estimate.n == 10
    assert found.units.names_settings
    assert not FIVE.names_settings


def test_a_tuned_candidate_has_settings_of_its_own_in_each_search_and_one_within(arms):
    by_unit = [
        retuned(one, 10.0 ** -(one.trial.block % 5))
        if one.trial.candidate.name == "thermolion"
        else one
        for one in arms("digits", A, B)
    ]
    assert final(compare("s", by_unit, [QUESTION], units=FIVE)).estimate.n == 5
    within = [retuned(one, 0.5) if one.trial.block == 7 else one for one in by_unit]
    with pytest.raises(ComparisonError, match="two different contents"):
        compare("s", within, [QUESTION], units=FIVE)
    with pytest.raises(ComparisonError, match="two different contents"):
        compare("s", by_unit, [QUESTION])


def test_a_search_without_one_of_its_blocks_is_the_mean_of_the_others(arms, outcome):
    outcomes = arms("digits", A, B)
    outcomes[5] = outcome("thermolion", "digits", 5, state="interrupted")
    found = final(compare("s", outcomes, [QUESTION], units=FIVE))
    d = np.subtract(by_search(A), by_search(B))
    d[0] = A[0] - B[0]
    assert found.estimate.n == 5
    assert found.estimate.mean == pytest.approx(100 * d.mean())
    assert found.estimate.p == pytest.approx(stats.ttest_1samp(d, 0).pvalue)


def test_a_search_has_diverged_if_any_of_its_trials_has(arms, outcome):
    outcomes = arms("digits", A, B)
    outcomes[7] = outcome(
        "thermolion", "digits", 7, curve=[(0, 0.1), (10, 0.5)], state="diverged", metrics={}
    )
    found = final(compare("s", outcomes, [QUESTION], units=FIVE))
    assert found.divergences == (1, 0)
    assert found.without_divergence.n == 4
    assert found.estimate.n == 5


def test_looks_count_searches_in_limits_and_ledger(arms):
    units = Units(10, frozenset({"thermolion"}))
    looks = Looks((5, 10), complete=2)
    one, other = (
        compare("s", arms("digits", A, B), [QUESTION], looks=looks, units=each)
        for each in (units, Units())
    )
    assert one.ledger == other.ledger
    assert [row.n for row in one.ledger] == [5, 5, 10, 10]


def test_variance_components_have_the_known_answer_of_a_one_way_layout():
    # Means 2, 6 and 3 about 11/3; 2 within, 26/3 between, of two blocks each.
    found = estimate_components([[1.0, 3.0], [5.0, 7.0], [2.0, 4.0]])
    assert found.block_sd == pytest.approx(2**0.5)
    assert found.search_sd == pytest.approx(((26 / 3 - 2) / 2) ** 0.5)


def test_variance_components_agree_with_the_f_test_of_one_way_layouts():
    random = np.random.default_rng(4)
    groups = random.normal(0, 2, (12, 1)) + random.normal(0, 1, (12, 4))
    found = estimate_components(groups.tolist())
    within = float(groups.var(axis=1, ddof=1).mean())
    ratio = stats.f_oneway(*groups).statistic
    assert found.block_sd**2 == pytest.approx(within)
    assert found.search_variance == pytest.approx((ratio - 1) * within / 4)


def test_unlike_groups_of_blocks_have_unbiased_components():
    random = np.random.default_rng(5)
    sizes = (2, 3, 1, 4, 2)
    found = [
        estimate_components(
            [random.normal(random.normal(0, 1.5), 0.8, size).tolist() for size in sizes]
        )
        for _ in range(4000)
    ]
    assert np.mean([one.search_variance for one in found]) == pytest.approx(1.5**2, abs=0.1)
    assert np.mean([one.block_sd**2 for one in found]) == pytest.approx(0.8**2, abs=0.02)


def test_searches_closer_than_their_blocks_have_a_variance_of_zero():
    found = estimate_components([[1.0, 5.0], [2.0, 4.0], [1.5, 4.5]])
    assert found.search_sd == 0
    assert found.search_variance < 0
    assert estimate_components([[1.0], [2.0]]) is None
    assert estimate_components([[1.0, 2.0]]) is None


def test_answers_say_how_far_searches_and_blocks_spread_on_each_workload_and_on_average(arms):
    outcomes = [*arms("digits", A, B), *arms("cifar10", B, A[::-1])]
    found = compare("s", outcomes, [QUESTION], units=FIVE)
    each = [final(found, name).components for name in ("digits", "cifar10")]
    pooled = final(found).components
    assert pooled.block_sd**2 == pytest.approx(fmean(one.block_sd**2 for one in each))
    assert pooled.search_variance == pytest.approx(fmean(one.search_variance for one in each))
    assert final(compare("s", outcomes, [QUESTION])).components is None
    alone = Units(10, frozenset({"adamw"}))
    assert final(compare("s", outcomes, [QUESTION], units=alone)).components is None


def test_luck_of_tuning_makes_no_words_if_it_is_counted(arms):
    """Two equal optimizers, each search with settings that are worth ±1 pp by luck."""
    random = np.random.default_rng(6)

    def arm():
        luck = random.normal(0, 0.01, 5)
        return [0.8 + luck[block % 5] + random.normal(0, 0.001) for block in range(20)]

    studies = [arms("digits", arm(), arm()) for _ in range(150)]
    words = {
        searches: sum(
            final(compare("s", one, [QUESTION], units=units)).verdict in ("better", "worse")
            for one in studies
        )
        for searches, units in ((5, FIVE), (1, Units()))
    }
    assert words[5] <= 0.05 * 150 + 3 * (150 * 0.05 * 0.95) ** 0.5
    assert words[1] > 0.3 * 150  # blind to it, one study in three is wrong
