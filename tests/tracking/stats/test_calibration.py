"""Do the tests err as often as they say? Seeded simulations, many studies at once.

The formulas are written once more, over arrays of studies, and held against the ones in use.
"""

import numpy as np
import pytest
from scipy import special, stats

from tracking.compare.result import verdict
from tracking.stats.group_sequential import limits
from tracking.stats.multiplicity import holm
from tracking.stats.power import power
from tracking.stats.sign_flip import max_t
from tracking.stats.signed_rank import signed_rank_test
from tracking.stats.t_tests import paired_t, stratified_t

STUDIES = 20_000
HONEST = (0.035, 0.065)
SPREADS = np.random.default_rng(1).uniform(0.1, 0.6, 12)  # of twelve data sets, in pp


def moments(d):
    """Return means and their variances over the last axis."""
    return d.mean(axis=-1), d.var(axis=-1, ddof=1) / d.shape[-1]


def paired(d):
    """Return p-values and half widths, (n_studies,), of differences (n_studies, n)."""
    mean, variance = moments(d)
    variance = np.where(variance > 1e-18, variance, np.nan)  # no spread: no p, no interval
    df = d.shape[-1] - 1
    p = 2 * special.stdtr(df, -np.abs(mean) / np.sqrt(variance))
    return mean, p, special.stdtrit(df, 0.975) * np.sqrt(variance)


def stratified(d):
    """Return the same of differences (n_studies, n_strata, n)."""
    means, variances = moments(d)
    total = variances.sum(axis=1)
    se = np.sqrt(total) / d.shape[1]
    df = total**2 / (variances**2 / (d.shape[2] - 1)).sum(axis=1)
    mean = means.mean(axis=1)
    return mean, 2 * special.stdtr(df, -np.abs(mean) / se), special.stdtrit(df, 0.975) * se


def share(found):
    return float(np.mean(found))


def test_these_formulas_are_the_ones_in_use():
    random = np.random.default_rng(2)
    d = random.normal(0.1, SPREADS[:, None], (20, 12, 4))
    mean, p, half = stratified(d)
    for i in range(20):
        singles = [paired_t(stratum, np.zeros(4)) for stratum in d[i]]
        found = stratified_t(singles)
        assert (found.mean, found.p) == pytest.approx((mean[i], p[i]))
        assert found.high - found.mean == pytest.approx(half[i])
        assert [one.p for one in singles] == pytest.approx(paired(d[i])[1])


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_paired_test_errs_and_covers_as_it_says(n):
    d = np.random.default_rng(20 + n).normal(0, 0.3, (STUDIES, n))
    mean, p, half = paired(d)
    assert HONEST[0] <= share(p <= 0.05) <= HONEST[1]
    assert 0.935 <= share(np.abs(mean) <= half) <= 0.965


@pytest.mark.parametrize("n", [3, 5, 10])
def test_it_does_so_for_accuracies_counted_on_ten_thousand_images(n):
    """Run noise, a seed's effect on both arms, and an evaluation that counts: 0.01 pp steps."""
    random = np.random.default_rng(30 + n)
    shared = random.normal(0, 0.12, (STUDIES, 1, n))
    truth = np.clip(90 + shared + random.normal(0, 0.2, (STUDIES, 2, n)), 0, 100)
    counted = random.binomial(10_000, truth / 100) / 100
    mean, p, half = paired(counted[:, 0] - counted[:, 1])
    told = np.isfinite(half)
    assert share(told) > 0.999
    assert HONEST[0] <= share(p[told] <= 0.05) <= HONEST[1]
    assert 0.935 <= share(np.abs(mean[told]) <= half[told]) <= 0.965


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_stratified_test_errs_and_covers_as_it_says(n):
    d = np.random.default_rng(40 + n).normal(0, SPREADS[:, None], (STUDIES, 12, n))
    mean, p, half = stratified(d)
    assert HONEST[0] <= share(p <= 0.05) <= HONEST[1]
    assert 0.935 <= share(np.abs(mean) <= half) <= 0.965


def test_five_seeds_on_twelve_data_sets_find_half_a_standard_deviation():
    """Of each data set's own spread, which varies between them as 1 to 3 or so."""
    random = np.random.default_rng(50)
    d = random.normal(0.5, 1, (STUDIES, 12, 5))
    alike = share(stratified(d)[1] <= 0.05)
    assert alike == pytest.approx(power(0.5 * 60**0.5, 48, 0.05), abs=0.01)
    spreads = random.lognormal(0, 0.5, (STUDIES, 12, 1))
    assert share(stratified(d * spreads)[1] <= 0.05) == pytest.approx(0.91, abs=0.03)


@pytest.mark.parametrize("looks", [(5, 10, 15, 20), (3, 5, 7, 10)])
def test_looks_agreed_beforehand_keep_the_level(looks):
    d = np.random.default_rng(60).normal(0, 0.3, (STUDIES, looks[-1]))
    stopped = [paired(d[:, :n])[1] <= p for n, p in zip(looks, limits(looks, 0.05), strict=True)]
    assert HONEST[0] <= share(np.any(stopped, axis=0)) <= HONEST[1]


def test_looks_agreed_beforehand_keep_the_level_over_twelve_data_sets():
    looks = (3, 5, 7, 10)
    d = np.random.default_rng(61).normal(0, SPREADS[:, None], (STUDIES // 2, 12, 10))
    stopped = [
        stratified(d[..., :n])[1] <= p for n, p in zip(looks, limits(looks, 0.05), strict=True)
    ]
    assert HONEST[0] <= share(np.any(stopped, axis=0)) <= HONEST[1]


def test_looking_after_every_seed_finds_differences_that_are_not_there():
    """The negative control: the harness can see a broken procedure."""
    d = np.random.default_rng(70).normal(0, 0.3, (STUDIES, 20))
    found = np.any([paired(d[:, :n])[1] <= 0.05 for n in range(3, 21)], axis=0)
    assert share(found) > 0.18


def test_only_the_test_over_data_sets_may_speak_of_data_sets_like_these():
    """Effects that vary between data sets, none on average: more seeds must not decide it."""
    random = np.random.default_rng(80)
    effects = random.normal(0, 1, (2000, 12, 1))
    d = random.normal(effects, 1, (2000, 12, 5))
    over_data_sets = [signed_rank_test(means).p <= 0.05 for means in d.mean(axis=2)]
    assert share(over_data_sets) <= HONEST[1]
    assert share(stratified(d)[1] <= 0.05) > 0.13


def test_max_t_bounds_the_chance_of_any_false_finding():
    random = np.random.default_rng(90)
    found = []
    for _ in range(1000):
        shared = random.normal(0, 1, (6, 1))  # the candidate's own noise is in every difference
        found.append(max_t(shared + random.normal(0, 1, (6, 8)))[1].min() <= 0.05)
    assert share(found) <= 0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5


def test_two_labels_of_one_optimizer_seldom_differ():
    """An A/A study, many times over, through verdicts: at most the errors that are allowed."""
    random = np.random.default_rng(3)
    p = paired(random.normal(0, 0.42, (2000 * 4, 5)))[1].reshape(2000, 4)
    estimate = paired_t([90.3, 90.1], [90.0, 90.0])  # any that has a sign
    wins = [
        any(verdict(estimate, one, None, 0.05) == "better" for one in holm(list(of_study)))
        for of_study in p
    ]
    assert share(wins) <= HONEST[1]


def test_bootstrap_intervals_would_not_have_held_at_five_seeds():
    """Why there are none: resampling five differences covers far less than it says."""
    random = np.random.default_rng(91)
    d = random.normal(0, 1, (400, 5))
    means = np.take_along_axis(
        np.repeat(d[:, None], 1000, axis=1), random.integers(0, 5, (400, 1000, 5)), axis=2
    ).mean(axis=2)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    assert share((low <= 0) & (high >= 0)) < 0.90
    t = stats.t.ppf(0.975, 4) * d.std(axis=1, ddof=1) / 5**0.5
    assert share(np.abs(d.mean(axis=1)) <= t) > 0.92
