"""Sign-flip, max-T and signed-rank tests against known answers, scipy and enumeration."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from tracking.stats.sensitivity import heterogeneity, max_t_p, sensitivity
from tracking.stats.sign_flip import flip_floor, max_t, sign_flip_p, stratified_sign_flip
from tracking.stats.signed_rank import hodges_lehmann, rank_floor, signed_rank_test
from tracking.stats.t_tests import paired_t

D = [0.50, 0.25, 0.45, 0.15, 0.65]
MEANS = [0.3, 0.1, -0.05, 0.4, 0.25, 0.6, 0.02, 0.15, -0.1, 0.35, 0.5, 0.2]
ROWS = [
    [0.5, 0.1, 0.9],
    [0.25, -0.2, 0.7],
    [0.45, 0.3, 1.1],
    [0.15, 0.05, 0.4],
    [0.65, 0.2, 0.8],
    [0.30, 0.15, 0.6],
]

hundredths = st.integers(-300, 300).map(lambda count: count / 100)


def test_the_sign_flip_test_gives_the_known_answer():
    assert sign_flip_p(D) == 0.0625


@settings(deadline=None, max_examples=40)
@given(st.lists(hundredths, min_size=2, max_size=8).filter(any))
def test_the_sign_flip_test_agrees_with_scipy(sample):
    rounded = np.round(np.asarray(sample), 10)
    oracle = stats.permutation_test(
        (rounded,),
        lambda d: round(float(np.sum(d)), 9),
        permutation_type="samples",
        vectorized=False,
    )
    assert sign_flip_p(sample) == pytest.approx(oracle.pvalue)


def test_beyond_sixteen_differences_a_sample_of_flips_comes_close():
    sample = np.random.default_rng(2).normal(0.12, 0.3, 24)
    oracle = stats.ttest_1samp(sample, 0).pvalue
    assert sign_flip_p(sample) == pytest.approx(oracle, abs=0.02)
    assert sign_flip_p(sample) == sign_flip_p(sample)
    assert flip_floor(24) == 1e-4


def test_of_thousands_of_differences_the_flips_take_little_memory():
    sample = np.random.default_rng(5).normal(0.015, 0.3, 3000)
    tracemalloc.start()
    p = sign_flip_p(sample)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert p == pytest.approx(stats.ttest_1samp(sample, 0).pvalue, abs=0.005)
    assert peak < 100e6


def test_the_stratified_sign_flip_test_gives_the_known_answer():
    statistic, p = stratified_sign_flip([[0.4, 0.1, 0.3], [0.2, -0.1, 0.15]])
    assert statistic == pytest.approx(4.325634, abs=1e-6)
    assert p == 6 / 64


def test_max_t_gives_the_known_answer():
    t, p = max_t(ROWS)
    assert t == pytest.approx([5.11743, 1.43839, 7.56329], abs=1e-5)
    assert p == pytest.approx([0.03125, 0.4375, 0.03125])
    assert [sign_flip_p(column) for column in zip(*ROWS, strict=True)] == [0.03125, 0.25, 0.03125]


def test_max_t_over_questions_uses_the_blocks_that_all_of_them_have():
    questions = [{("digits", i): row[k] for i, row in enumerate(ROWS)} for k in range(3)]
    questions[1][("digits", 6)] = 9.0
    assert max_t_p(questions) == pytest.approx([0.03125, 0.4375, 0.03125])
    assert max_t_p(questions[:1]) == [None]
    assert max_t_p([]) == []


def test_max_t_of_one_question_is_its_sign_flip_test():
    column = [[row[1]] for row in ROWS]
    assert max_t(column)[1] == pytest.approx([sign_flip_p([row[0] for row in column])])
    assert max_t([[0.1], [0.1]]) is None


def test_wilcoxons_test_gives_the_known_answers():
    found = signed_rank_test(MEANS, 1e-4)
    assert found.p == pytest.approx(0.0068359, abs=1e-7)
    assert signed_rank_test(D).p == 0.0625
    assert signed_rank_test([0.1, 0.1, 0.2, 0.2, 0.3]).p == 0.0625


@settings(deadline=None)
@given(st.lists(hundredths, min_size=1, max_size=9).filter(any))
def test_wilcoxons_test_counts_the_rank_sums_of_all_signs_ties_or_not(sample):
    kept = np.array([value for value in sample if value])
    found = signed_rank_test(sample, 1e-4)
    ranks = stats.rankdata(abs(kept))
    smaller = min(ranks[kept > 0].sum(), ranks[kept < 0].sum())
    signs = np.array(list(itertools.product([0, 1], repeat=len(kept))))
    sums = signs @ np.arange(1, len(kept) + 1)
    assert found.p == pytest.approx(min(1, 2 * np.mean(sums <= np.ceil(smaller))))
    assert found.floor == rank_floor(len(kept))


def test_many_values_have_the_normal_approximation():
    sample = np.random.default_rng(4).normal(0.05, 1, 300)
    ranks = stats.rankdata(abs(sample))
    z = (ranks[sample > 0].sum() - ranks.sum() / 2) / (ranks**2).sum() ** 0.5 * 2
    assert signed_rank_test(sample).p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-9)


@pytest.mark.parametrize("n", [3, 4, 5, 6, 8, 9, 10, 12])
def test_no_sample_beats_the_floor(n):
    steady = np.arange(1, n + 1) / 10
    assert sign_flip_p(steady) == flip_floor(n) == signed_rank_test(steady).p == rank_floor(n)


def test_differences_of_zero_alone_have_no_p_value():
    assert sign_flip_p([0.0, 0.0]) is None
    assert stratified_sign_flip([[0.0], [0.0, 0.0]]) == (0.0, None)
    assert signed_rank_test([0.0, 0.00001], 1e-4) is None
    assert sensitivity([[]]) is None
    same = sensitivity([[0.0, 0.0]])
    assert (same.sign_flip_p, same.signed_rank_p) == (None, None)


def test_the_middle_of_the_known_differences():
    assert hodges_lehmann(D).estimate == pytest.approx(0.40)
    assert hodges_lehmann(D).low == -np.inf  # five values bound nothing at 95 %
    assert hodges_lehmann([]) is None


@pytest.mark.parametrize("n", [6, 9, 12, 30])
def test_the_interval_of_the_middle_holds_the_shifts_that_are_not_rejected(n):
    sample = np.random.default_rng(n).normal(0.3, 1, n)
    found = hodges_lehmann(sample)
    walsh = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(sample, 2))
    assert found.estimate == pytest.approx(np.median(walsh))
    for edge, outwards in ((found.low, -1), (found.high, 1)):
        assert signed_rank_test(sample - edge - outwards * 1e-9).p <= 0.05
        assert signed_rank_test(sample - edge + outwards * 1e-9).p > 0.05


@settings(deadline=None, max_examples=30)
@given(st.lists(hundredths, min_size=3, max_size=9).filter(lambda x: len(set(x)) > 2))
def test_turning_signs_or_scale_or_order_changes_no_p_value(sample):
    there = sensitivity([sample])
    for other in ([-d for d in sample], [d / 100 for d in sample], sample[::-1]):
        again = sensitivity([other])
        assert again.sign_flip_p == pytest.approx(there.sign_flip_p)
        assert again.signed_rank_p == pytest.approx(there.signed_rank_p)


def test_a_sign_flip_test_contradicts_only_if_it_could_have_agreed():
    steady = sensitivity([[1.0, 1.1, 0.9, 1.2, 0.8, -0.2, -0.1]])
    assert steady.sign_flip_p > 0.05 >= steady.sign_flip_floor
    assert steady.contradicts(0.01, 0.05)
    assert not steady.contradicts(0.2, 0.05)
    few = sensitivity([[1.0, 1.1, 0.9]])
    assert not few.contradicts(0.01, 0.05)


def test_heterogeneity_agrees_with_statsmodels():
    random = np.random.default_rng(5)
    strata = [random.normal(mean, 0.3, 6) for mean in (0.1, 0.4, 0.2, -0.3)]
    estimates = [paired_t(d, np.zeros(6)) for d in strata]
    found = heterogeneity(estimates)
    oracle = combine_effects(
        np.array([one.mean for one in estimates]), np.array([one.se**2 for one in estimates])
    )
    assert (found.q, found.df) == (pytest.approx(oracle.q), 3)
    assert found.p == pytest.approx(stats.chi2.sf(oracle.q, 3))
    assert heterogeneity(estimates[:1]) is None
