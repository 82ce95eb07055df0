"""The statistics of the appendix: known answers, and independent libraries as oracles."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.libqsturng import qsturng

from tracking.stats.budgets import expected_best, interquartile_mean
from tracking.stats.profiles import jackknife_ranges, profile
from tracking.stats.ranks import cliques, critical_difference, friedman, rank_scores

INF = math.inf


def test_the_profile_is_the_known_one_and_its_integral_exact():
    times = [[10, 20, INF], [20, 10, 30], [40, 81, 30]]
    found = profile(times)
    assert found.ratios.tolist() == [[1, 2, INF], [2, 1, 1], [4, 8.1, 1]]
    assert found.scores == pytest.approx((0.555556, 0.888889, 0.333333), abs=1e-6)
    grid = np.linspace(1, 4, 200_001)
    for candidate, score in enumerate(found.scores):
        shares = [np.mean(found.ratios[candidate] <= tau) for tau in grid[:: len(grid) // 2000]]
        assert np.mean(shares) == pytest.approx(score, abs=2e-3)


def test_a_workload_that_nobody_solves_takes_no_part():
    found = profile([[10, INF], [20, INF]])
    assert found.solved == (True, False)
    assert found.scores == pytest.approx((1, 2 / 3))
    with pytest.raises(ValueError, match="no candidate reached"):
        profile([[INF]])
    seeds = [[[10, 10], [20, 10]], [[10, 10], [10, 10]], [[10, 10], [20, 10]]]
    assert jackknife_ranges(seeds)[1] == pytest.approx((5 / 6, 1))


def test_the_ranks_of_demsar_give_his_figures():
    found = friedman([3.143, 2.000, 2.893, 1.964], 14)
    assert (found.chi2, found.f, found.p_f) == pytest.approx((9.2836, 3.6889, 0.01977), abs=1e-4)
    assert critical_difference(4, 14) == pytest.approx(1.25356, abs=1e-5)
    assert critical_difference(9, 12) == pytest.approx(3.46784, abs=1e-5)
    assert critical_difference(9, 5) == pytest.approx(5.37, abs=5e-3)


@pytest.mark.parametrize("seed", range(3))
def test_friedman_agrees_with_scipy_if_nothing_is_tied(seed):
    scores = np.random.default_rng(seed).normal(size=(11, 4))
    found = friedman(rank_scores(scores).mean(axis=0), 11)
    oracle = stats.friedmanchisquare(*scores.T)
    assert (found.chi2, found.p) == pytest.approx((oracle.statistic, oracle.pvalue))


@pytest.mark.parametrize(
    ("k", "alpha", "q"), [(4, 0.05, 2.569032), (4, 0.1, 2.291341), (9, 0.05, 3.101730)]
)
def test_the_critical_difference_has_the_known_quantile_and_that_of_statsmodels(k, alpha, q):
    unit = (k * (k + 1) / (6 * 12)) ** 0.5
    assert critical_difference(k, 12, alpha) / unit == pytest.approx(q, abs=1e-6)
    assert qsturng(1 - alpha, k, INF) / 2**0.5 == pytest.approx(q, rel=2e-3)


def test_if_all_data_sets_rank_alike_there_is_no_f():
    found = friedman([1.0, 2.0, 3.0], 5)
    assert (found.chi2, found.f, found.p_f) == (pytest.approx(10), None, None)
    assert found.p == pytest.approx(stats.chi2.sf(10, 2))


def test_cliques_are_the_longest_runs_without_a_difference():
    mean = [1.2, 3.9, 2.0, 2.9]

    def differ(i, j):
        return abs(mean[i] - mean[j]) > 1

    assert cliques(mean, differ) == ((0, 2), (2, 3), (3, 1))


def test_the_expected_best_of_k_is_the_known_one():
    v = [0.6, 0.7, 0.72, 0.8, 0.9]
    assert expected_best(v)[:3] == pytest.approx((0.744, 0.814, 0.852))
    assert (len(expected_best(v)), expected_best(v)[-1]) == (5, 0.9)


def test_the_interquartile_mean_is_the_known_one():
    x = [[0.9, 0.5], [0.8, 0.6], [0.85, 0.55], [0.95, 0.4]]
    y = [[0.7, 0.5], [0.85, 0.65], [0.75, 0.6], [0.8, 0.45]]
    assert (interquartile_mean(x), interquartile_mean(y)) == pytest.approx((0.7, 0.675))
