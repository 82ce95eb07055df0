"""The statistics of the appendix: known answers, and independent libraries as oracles."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from statsmodels.stats.libqsturng import psturng, qsturng

from tracking.budgets import decision_costs, expected_best, improvement, interquartile_mean
from tracking.e_process import (
    anytime_p,
    confidence_sequence,
    e_bonferroni,
    e_process,
    e_value,
    sign_e_value,
)
from tracking.mean_ranks import cliques, critical_difference, friedman, nemenyi_p, ranks
from tracking.performance_profile import jackknife_ranges, profile

K1 = [0.50, 0.25, 0.45, 0.15, 0.65]
INF = math.inf


def test_e_values_are_the_known_ones():
    assert e_process(K1)[-1] == pytest.approx(7.9104085, abs=1e-6)
    assert e_process(K1, g=4)[-1] == pytest.approx(11.2819286, abs=1e-6)
    assert e_value(2.5, 8) == pytest.approx(2.9311172, abs=1e-6)
    assert confidence_sequence(K1) == pytest.approx((-0.35607608, 1.15607605), abs=1e-6)
    assert confidence_sequence(K1, g=4) == pytest.approx((-0.0791772, 0.8791772), abs=1e-6)
    assert confidence_sequence(K1[:3]) == (-INF, INF)
    assert [sign_e_value(n, n) for n in (5, 6, 7)] == pytest.approx([7.875, 14.4375, 26.8125])


@pytest.mark.parametrize(
    ("g", "critical"),
    [
        (1, {5: 8.453, 6: 5.450, 8: 4.251, 10: 3.870, 15: 3.538, 20: 3.425}),
        (4, {4: 7.214, 5: 5.357, 10: 3.971}),
    ],
)
def test_an_e_value_of_twenty_takes_the_known_t(g, critical):
    for n, t in critical.items():
        assert e_value(t, n, g) == pytest.approx(20, rel=2e-3)


@pytest.mark.parametrize(("n", "greatest"), [(3, 4), (4, 11.18), (5, 36)])
def test_few_seeds_have_a_greatest_e_value_whatever_they_say(n, greatest):
    assert e_value(1e9, n) == pytest.approx(greatest, rel=1e-3)
    assert greatest < 20 or n >= 5


def test_an_e_value_beyond_all_floats_is_still_a_number():
    assert 1e300 < e_value(1e9, 2000) < INF


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-300, 300), min_size=2, max_size=12), st.sampled_from([0.01, -1.0]))
def test_scale_and_sign_change_no_e_value(sample, factor):
    d = [value / 100 for value in sample]
    assert e_process([factor * value for value in d]) == pytest.approx(e_process(d), rel=1e-9)


@pytest.mark.parametrize(("t", "n", "g"), [(0.3, 3, 1.0), (2.5, 8, 1.0), (-4.0, 12, 0.25)])
def test_an_e_value_is_the_mixture_of_likelihood_ratios(t, n, g):
    def mixed(delta):
        density = stats.nct.pdf(t, n - 1, delta * n**0.5)
        return density * stats.norm.pdf(delta, 0, g**0.5)

    whole, _ = integrate.quad(mixed, -8, 8, epsabs=1e-12)
    assert e_value(t, n, g) == pytest.approx(whole / stats.t.pdf(t, n - 1), rel=1e-7)


def test_looking_after_every_seed_keeps_the_level_of_an_e_process():
    d = np.random.default_rng(5).normal(0, 0.3, (2000, 20))
    found = np.mean([anytime_p(e_process(row)) <= 0.05 for row in d])
    assert found <= 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5
    assert anytime_p([]) == 1.0
    assert e_process([0.2, 0.2, 0.2]) == (1.0, 1.0, 1.0)
    assert e_bonferroni([45, 30, 8, 2, 160], 0.05) == (False, False, False, False, True)


def test_the_profile_is_the_known_one_and_its_integral_exact():
    times = [[10, 20, INF], [20, 10, 30], [40, 81, 30]]
    found = profile(times)
    assert found.ratios.tolist() == [[1, 2, INF], [2, 1, 1], [4, 8.1, 1]]
    assert found.scores == pytest.approx((0.555556, 0.888889, 0.333333), abs=1e-6)
    grid = np.linspace(1, 4, 200_001)
    for candidate, score in enumerate(found.scores):
        shares = [found.share(candidate, tau) for tau in grid[:: len(grid) // 2000]]
        assert np.mean(shares) == pytest.approx(score, abs=2e-3)


def test_a_workload_that_nobody_solves_takes_no_part():
    found = profile([[10, INF], [20, INF]])
    assert found.solved == (True, False)
    assert found.scores == pytest.approx((1, 2 / 3))
    with pytest.raises(ValueError, match="no candidate reached"):
        profile([[INF]])
    seeds = [[[10, 10], [20, 10]], [[10, 10], [10, 10]], [[10, 10], [20, 10]]]
    assert jackknife_ranges(seeds)[1] == pytest.approx((5 / 6, 11 / 12))


def test_the_ranks_of_demsar_give_his_figures():
    found = friedman([3.143, 2.000, 2.893, 1.964], 14)
    assert (found.chi2, found.f, found.p_f) == pytest.approx((9.2836, 3.6889, 0.01977), abs=1e-4)
    assert critical_difference(4, 14) == pytest.approx(1.25356, abs=1e-5)
    assert critical_difference(9, 12) == pytest.approx(3.46784, abs=1e-5)
    assert critical_difference(9, 5) == pytest.approx(5.37, abs=5e-3)


@pytest.mark.parametrize("seed", range(3))
def test_friedman_agrees_with_scipy_where_nothing_is_tied(seed):
    scores = np.random.default_rng(seed).normal(size=(11, 4))
    found = friedman(ranks(scores).mean(axis=0), 11)
    oracle = stats.friedmanchisquare(*scores.T)
    assert (found.chi2, found.p) == pytest.approx((oracle.statistic, oracle.pvalue))


@pytest.mark.parametrize(
    ("k", "alpha", "q"), [(4, 0.05, 2.569032), (4, 0.1, 2.291341), (9, 0.05, 3.101730)]
)
def test_the_critical_difference_has_the_known_quantile_and_that_of_statsmodels(k, alpha, q):
    unit = (k * (k + 1) / (6 * 12)) ** 0.5
    assert critical_difference(k, 12, alpha) / unit == pytest.approx(q, abs=1e-6)
    assert qsturng(1 - alpha, k, INF) / 2**0.5 == pytest.approx(q, rel=2e-3)
    assert nemenyi_p(1.0, 1.0 + unit * q, k, 12) == pytest.approx(alpha, abs=1e-5)
    assert psturng(q * 2**0.5, k, INF) == pytest.approx(alpha, rel=0.02)


def test_where_all_data_sets_rank_alike_there_is_no_f():
    found = friedman([1.0, 2.0, 3.0], 5)
    assert (found.chi2, found.f, found.p_f) == (pytest.approx(10), None, None)
    assert found.p == pytest.approx(stats.chi2.sf(10, 2))


def test_two_ranks_at_the_critical_difference_have_the_level_as_p():
    apart = critical_difference(5, 12)
    assert nemenyi_p(1.0, 1.0 + apart, 5, 12) == pytest.approx(0.05, abs=1e-6)


def test_cliques_are_the_longest_runs_without_a_difference():
    mean = [1.2, 3.9, 2.0, 2.9]

    def differ(i, j):
        return abs(mean[i] - mean[j]) > 1

    assert cliques(mean, differ) == ((0, 2), (2, 3), (3, 1))


def test_the_expected_best_of_k_is_the_known_one():
    v = [0.6, 0.7, 0.72, 0.8, 0.9]
    biased = [expected_best(v, k, biased=True) for k in (1, 2, 3)]
    assert biased == pytest.approx([0.744, 0.800, 0.82944])
    assert [expected_best(v, k) for k in (1, 2, 3)] == pytest.approx([0.744, 0.814, 0.852])


def test_unpaired_improvement_and_interquartile_mean_are_the_known_ones():
    x = [[0.9, 0.5], [0.8, 0.6], [0.85, 0.55], [0.95, 0.4]]
    y = [[0.7, 0.5], [0.85, 0.65], [0.75, 0.6], [0.8, 0.45]]
    assert improvement(x, y) == pytest.approx(0.625)
    assert (interquartile_mean(x), interquartile_mean(y)) == pytest.approx((0.7, 0.675))
    oracle = [
        stats.mannwhitneyu(*arms).statistic / 16
        for arms in zip(np.transpose(x), np.transpose(y), strict=True)
    ]
    assert improvement(x, y) == pytest.approx(np.mean(oracle))


@pytest.mark.parametrize(
    ("shape", "strata", "looks", "alpha", "effect", "power", "seeds"),
    [
        ("obrien-fleming", 1, (5, 10, 15, 20), 0.05, 1.0, 0.99, 13.8),
        ("pocock", 1, (5, 10, 15, 20), 0.05, 1.0, 0.97, 11.4),
        ("obrien-fleming", 12, (3, 5, 7, 10), 0.05 / 8, 0.5, 0.97, 7.6),
        ("pocock", 12, (3, 5, 7, 10), 0.05 / 8, 1.0, 1.0, 3.5),
    ],
)
def test_a_decision_costs_what_is_known(shape, strata, looks, alpha, effect, power, seeds):
    unlike = 0.5 if strata > 1 else 0.0
    (found,) = decision_costs(looks, [effect], alpha, shape, strata, unlike)
    assert found.power == pytest.approx(power, abs=0.02)
    assert found.seeds == pytest.approx(seeds, abs=0.2)


def test_without_an_effect_a_decision_is_as_rare_as_the_level():
    (found,) = decision_costs((3, 5, 7, 10), [0.0], strata=12)
    assert 0.035 <= found.power <= 0.065
