"""Estimates against known answers, other libraries and symmetries."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from tracking.compare.endpoints import normalised_auc
from tracking.stats.power import power, smallest_detectable
from tracking.stats.t_tests import (
    paired_t,
    proportion_interval,
    stratified_t,
    superiority,
    welch_t,
)

A = [91.20, 90.85, 91.40, 91.05, 91.30]
B = [90.70, 90.60, 90.95, 90.90, 90.65]

accuracies = st.integers(0, 10_000).map(lambda count: count / 100)
pairs = st.lists(st.tuples(accuracies, accuracies), min_size=2, max_size=20)


def differences(*values: float):
    return paired_t(values, [0.0] * len(values))


def test_paired_t_gives_the_known_answer():
    found = paired_t(A, B)
    assert found.kind == "estimated"
    assert found.n == 5
    assert found.mean == pytest.approx(0.4, abs=1e-6)
    assert found.sd == pytest.approx(0.2, abs=1e-6)
    assert found.t == pytest.approx(4.472136, abs=1e-6)
    assert found.p == pytest.approx(0.01105649, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.1516672, 0.6483328), abs=1e-6)
    assert found.d_z == pytest.approx(2, abs=1e-6)
    assert found.g_z == pytest.approx(1.59577, abs=1e-5)
    assert found.equivalence_p(1) == pytest.approx(
        DescrStatsW(np.subtract(A, B)).ttost_mean(-1, 1)[0], abs=1e-9
    )


def test_stratified_t_gives_the_known_answer():
    found = stratified_t([differences(0.5, 0.25, 0.45), differences(0.1, -0.1, 0.15)])
    assert found.mean == pytest.approx(0.225, abs=1e-6)
    assert found.se == pytest.approx(0.05400617, abs=1e-6)
    assert found.t == pytest.approx(4.16619045, abs=1e-6)
    assert found.df == pytest.approx(4, abs=1e-3)
    assert found.p == pytest.approx(0.01407448, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.0750548, 0.3749452), abs=1e-6)


@settings(deadline=None)
@given(pairs)
def test_paired_t_agrees_with_scipy(sample):
    first, second = zip(*sample, strict=True)
    found = paired_t(first, second)
    if found.kind == "estimated":
        oracle = stats.ttest_rel(first, second)
        expected = (oracle.statistic, oracle.pvalue, *oracle.confidence_interval())
        assert (found.t, found.p, found.low, found.high) == pytest.approx(expected, rel=1e-6)


@settings(deadline=None)
@given(pairs)
def test_equivalence_agrees_with_statsmodels(sample):
    first, second = zip(*sample, strict=True)
    found = paired_t(first, second)
    if found.kind == "estimated":
        oracle = DescrStatsW(np.subtract(first, second)).ttost_mean(-0.2, 0.2)[0]
        assert found.equivalence_p(0.2) == pytest.approx(oracle, rel=1e-6, abs=1e-12)


@settings(deadline=None)
@given(pairs, pairs)
def test_two_strata_are_welchs_test_of_one_against_the_negated_other(one, other):
    d1, d2 = (np.array([a - b for a, b in sample]) for sample in (one, other))
    strata = [differences(*d1), differences(*d2)]
    if all(stratum.kind == "estimated" for stratum in strata):
        found = stratified_t(strata)
        oracle = stats.ttest_ind(d1, -d2, equal_var=False)
        assert (found.t, found.df, found.p) == pytest.approx(
            (oracle.statistic, oracle.df, oracle.pvalue), rel=1e-6
        )


def test_welchs_test_agrees_with_statsmodels():
    found = welch_t(A, B[:4])
    other = CompareMeans(DescrStatsW(A), DescrStatsW(B[:4]))
    t, p, df = other.ttest_ind(usevar="unequal")
    assert (found.t, found.p, found.df) == pytest.approx((t, p, df))
    assert (found.low, found.high) == pytest.approx(other.tconfint_diff(usevar="unequal"))
    assert found.n == 4


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ([], [1.0, 2.0], "undefined"),
        ([1.0], [1.0, 2.0], "undefined"),
        ([2.0, 2.0], [2.0, 2.0, 2.0], "identical"),
        ([2.0, 2.0], [1.0, 1.0, 1.0], "degenerate"),
    ],
)
def test_welchs_test_takes_two_values_of_either_side_and_a_spread(first, second, kind):
    found = welch_t(first, second)
    assert (found.kind, found.p) == (kind, None)


def test_one_stratum_is_the_paired_test():
    single = paired_t(A, B)
    pooled = stratified_t([single])
    assert (pooled.t, pooled.df, pooled.p) == pytest.approx((single.t, single.df, single.p))


@settings(deadline=None)
@given(pairs)
def test_swapping_the_arms_turns_the_sign_and_keeps_p(sample):
    first, second = zip(*sample, strict=True)
    there, back = paired_t(first, second), paired_t(second, first)
    assert there.kind == back.kind
    assert there.p == back.p
    assert there.mean == -back.mean


@settings(deadline=None)
@given(pairs, st.randoms(use_true_random=False))
def test_the_order_of_pairs_is_irrelevant(sample, random):
    shuffled = random.sample(sample, len(sample))
    ordered = paired_t(*zip(*sample, strict=True))
    other = paired_t(*zip(*shuffled, strict=True))
    assert ordered.kind == other.kind
    if ordered.kind == "estimated":
        assert (ordered.mean, ordered.p) == pytest.approx(
            (other.mean, other.p), rel=1e-6, abs=1e-9
        )


def test_fewer_than_two_pairs_are_undefined():
    assert paired_t([], []).kind == "undefined"
    single = paired_t([91.0], [90.0])
    assert (single.kind, single.mean, single.p) == ("undefined", 1.0, None)
    assert stratified_t([single, paired_t(A, B)]).kind == "undefined"
    assert stratified_t([]).kind == "undefined"


def test_differences_without_spread_have_no_p_value():
    constant = paired_t([90.2, 91.2, 92.2], [90.0, 91.0, 92.0])
    assert (constant.kind, constant.p) == ("degenerate", None)
    assert constant.equivalence_p(1) is None
    assert stratified_t([constant, constant]).kind == "degenerate"


def test_equal_arms_are_identical_and_have_no_p_value():
    same = paired_t(A, A)
    assert (same.kind, same.mean, same.p) == ("identical", 0.0, None)
    assert stratified_t([same, same]).kind == "identical"


def test_a_stratum_without_spread_still_counts_in_the_average():
    pooled = stratified_t([paired_t(A, A), paired_t(A, B)])
    assert pooled.mean == pytest.approx(0.2)
    assert pooled.df == pytest.approx(4)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_are_an_error(bad):
    with pytest.raises(ValueError, match="finite"):
        paired_t([90.0, bad], [90.0, 90.0])


def test_unequal_arms_are_an_error():
    with pytest.raises(ValueError, match="pairs"):
        paired_t([90.0, 91.0], [90.0])


@pytest.mark.parametrize(("wins", "n"), [(5, 5), (9, 10), (22, 29), (0, 4)])
def test_the_interval_of_superiority_is_clopper_and_pearsons(wins, n):
    found = superiority([0.5] * wins + [-0.5] * (n - wins))
    assert found.probability == wins / n
    assert (found.low, found.high) == pytest.approx(proportion_confint(wins, n, method="beta"))


@pytest.mark.parametrize(
    ("wins", "n", "low", "high"), [(5, 5, 0.478, 1), (9, 10, 0.555, 0.997), (22, 29, 0.565, 0.897)]
)
def test_the_interval_of_a_share_of_wins_is_the_known_one(wins, n, low, high):
    assert proportion_interval(wins, n) == pytest.approx((low, high), abs=6e-4)


def test_a_tie_is_half_a_win():
    assert superiority([1.0, 0.0]).wins == 1.5


@pytest.mark.parametrize(("n", "effect"), [(3, 3.26), (5, 1.68), (10, 1.00), (20, 0.66)])
def test_the_smallest_detectable_difference_is_known(n, effect):
    found = smallest_detectable(1 / n**0.5, n - 1, 0.05)
    assert found == pytest.approx(effect, abs=0.01)
    oracle = TTestPower().power(effect_size=found, nobs=n, alpha=0.05)
    assert oracle == pytest.approx(0.8, abs=1e-6)


def test_the_smallest_detectable_difference_goes_on_where_the_noncentral_t_ends():
    levels = np.geomspace(1e-15, 1e-7, 40)  # the first look of three seeds, among many tests
    found = [smallest_detectable(1.0, 2, level) * level**0.5 for level in levels]
    assert found == pytest.approx([found[0]] * 40, rel=1e-4)


def test_power_at_no_difference_is_the_level():
    assert power(0, 4, 0.05) == pytest.approx(0.05)


def test_the_area_under_a_curve_gives_the_known_answer():
    assert normalised_auc([0, 1, 2, 4], [10, 50, 70, 80]) == pytest.approx(60)


@settings(deadline=None)
@given(st.integers(3, 10))
def test_adding_a_constant_to_both_arms_changes_nothing(n):
    random = np.random.default_rng(n)
    first, second = random.normal(90, 0.3, (2, n))
    there, moved = paired_t(first, second), paired_t(first + 5, second + 5)
    assert there.p == pytest.approx(moved.p)


def test_equivalence_and_the_share_of_wins_give_the_known_answers():
    assert paired_t(A, B).equivalence_p(0.2) == pytest.approx(0.955495, abs=1e-6)
    assert paired_t(A, B).equivalence_p(1) == pytest.approx(0.0012851, abs=1e-7)
    first = [0.9, 0.5, 0.8, 0.6, 0.85, 0.55, 0.95, 0.4]
    second = [0.7, 0.5, 0.85, 0.65, 0.75, 0.6, 0.8, 0.45]
    assert superiority(np.subtract(first, second)).probability == pytest.approx(0.4375)


@pytest.mark.parametrize(
    ("alpha", "needed"),
    [
        (0.05, {0.5: 33.37, 0.8: 14.30, 1: 9.94, 1.5: 5.69, 2: 4.22}),
        (0.05 / 8, {0.5: 54.91, 0.8: 23.77, 1: 16.58, 1.5: 9.46, 2: 6.92}),
    ],
)
def test_the_number_of_pairs_for_a_power_of_four_in_five_is_known(alpha, needed):
    for effect, n in needed.items():
        assert power(effect * n**0.5, n - 1, alpha) == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize(("sd", "n"), [(0.25, 15), (0.35, 28), (0.5, 55)])
def test_the_number_of_pairs_that_shows_equivalence_four_times_in_five_is_known(sd, n):
    d = np.random.default_rng(n).normal(0, sd, (4000, n))
    shown = [paired_t(row, np.zeros(n)).equivalence_p(0.2) <= 0.05 for row in d]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.03)


@settings(deadline=None)
@given(st.integers(3, 10))
def test_percentage_points_or_fractions_make_no_difference_to_p_and_effect(n):
    random = np.random.default_rng(n)
    first, second = random.normal(90, 0.3, (2, n))
    points, fractions = paired_t(first, second), paired_t(first / 100, second / 100)
    assert (points.p, points.d_z) == pytest.approx((fractions.p, fractions.d_z))
    assert points.mean == pytest.approx(100 * fractions.mean)
