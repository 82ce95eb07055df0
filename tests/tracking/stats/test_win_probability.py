"""The exact sign-flip test of wins against scipy, and its interval against the test."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from tracking.stats.win_probability import Stratum, win_probability


def strata_of(*signs):
    return [Stratum(row.count(1), row.count(-1), len(row)) for row in map(list, signs)]


def of_signs(*signs, **more):
    return win_probability(strata_of(*signs), **more)


def mean_of_shares(flat, sizes):
    ends = np.cumsum(sizes)[:-1]
    return np.mean([part.mean() for part in np.split(np.asarray(flat), ends)])


@pytest.mark.parametrize(("units", "p"), [(5, 0.0625), (6, 0.03125), (7, 0.015625)])
def test_six_wins_reach_five_percent_and_seven_half_of_it(units, p):
    found = of_signs([1] * units)
    assert (found.probability, found.p, found.won, found.n) == (1, p, units, units)


def test_a_tie_counts_one_half_and_workloads_count_alike():
    found = of_signs([1, 1, 0, -1], [1, 1])
    assert found.probability == pytest.approx((2.5 / 4 + 1) / 2)
    assert (found.won, found.lost, found.n) == (4, 1, 6)


def test_without_a_unit_there_is_no_answer_and_with_ties_alone_no_test():
    assert of_signs([], []) is None
    found = of_signs([0, 0, 0])
    assert (found.probability, found.p, found.low, found.high) == (0.5, None, 0.5, 0.5)


signs = st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=6)


@settings(deadline=None, max_examples=25)
@given(signs.filter(lambda row: len(row) > 1))
def test_on_one_workload_the_test_agrees_with_scipy(row):
    if any(row):
        oracle = stats.permutation_test(
            (row,), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert of_signs(row).p == pytest.approx(oracle.pvalue)


@settings(deadline=None, max_examples=25)
@given(st.lists(signs, min_size=2, max_size=3).filter(lambda rows: any(map(any, rows))))
def test_over_workloads_it_is_all_flips_of_single_units(rows):
    """The oracle flips every unit by hand: 2^n of them, ties as well."""
    flat, sizes = np.concatenate(rows), list(map(len, rows))
    assume(len(flat) <= 12)
    observed = abs(mean_of_shares(flat, sizes))
    flips = [mean_of_shares(flat * signs, sizes) for signs in product([-1, 1], repeat=len(flat))]
    reached = np.mean(np.abs(flips) >= observed - 1e-12)
    assert of_signs(*rows).p == pytest.approx(reached)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 24), st.integers(0, 24), st.integers(0, 8), st.sampled_from([0.95, 0.99]))
def test_the_interval_leaves_out_one_half_where_the_test_rejects(won, lost, ties, level):
    if won + lost:
        found = win_probability([Stratum(won, lost, won + lost + ties)], level)
        assert 0 <= found.low <= found.probability <= found.high <= 1
        assert (not found.low <= 0.5 <= found.high) == (found.p <= 1 - level)


def test_the_interval_is_the_known_one_of_clopper_and_pearson():
    found = of_signs([1] * 9 + [-1], [1] * 9 + [-1])
    oracle = stats.binomtest(18, 20).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high))


@settings(deadline=None, max_examples=40)
@given(st.lists(signs, min_size=2, max_size=4).filter(lambda rows: any(map(any, rows))))
def test_workloads_of_unlike_sizes_have_an_interval_that_agrees_with_the_test(rows):
    found = of_signs(*rows)
    assert 0 <= found.low <= found.probability + 1e-12
    assert found.probability <= found.high + 1e-12
    assert found.high <= 1 + 1e-12
    assert (not found.low <= 0.5 <= found.high) == (found.p <= 0.05)


@pytest.mark.parametrize("true", [0.5, 0.8])
def test_the_interval_of_unlike_sizes_covers_as_often_as_it_says(true):
    rng, sizes = np.random.default_rng(3), (5, 7, 8)
    covered = 0
    for _ in range(400):
        found = win_probability([Stratum(w := rng.binomial(n, true), n - w, n) for n in sizes])
        covered += found.low <= true <= found.high
    assert covered >= 0.95 * 400 - 2 * (400 * 0.05 * 0.95) ** 0.5


def test_very_unlike_sizes_are_counted_on_a_coarser_grid_and_not_in_favour_of_a_word():
    rows = [Stratum(k % 7 + 3, 2, n) for k, n in enumerate(range(13, 21))]
    found = win_probability(rows)
    untied, n = [row.untied for row in rows], [row.n for row in rows]
    wins = np.random.default_rng(0).binomial(untied, 0.5, (200_000, len(rows)))
    sums = ((2 * wins - untied) / n).sum(axis=1)
    observed = sum((row.won - row.lost) / row.n for row in rows)
    exact = np.mean(np.abs(sums) >= observed - 1e-9)
    assert exact - 0.001 <= found.p <= 1.2 * exact + 0.001
