"""Survival functions against known answers and lifelines."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.statistics import logrank_test

from tracking.stats.survival import kaplan_meier, log_rank_p, median_time, restricted_mean

INF = np.inf

T1, E1 = [3, 4, 4, 6, 12], [1, 1, 1, 1, 0]
T2, E2 = [5, 7, 8, 12, 12], [1, 1, 1, 0, 0]

runs = st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=2, max_size=20)


def test_the_survival_function_gives_the_known_answer():
    found = kaplan_meier(T1, E1)
    assert found.times.tolist() == [3, 4, 6]
    assert found.survival == pytest.approx([0.8, 0.4, 0.2])
    assert (median_time([3, 4, 4, 6, INF]), median_time([5, 7, 8, INF, INF])) == (4, 8)


def test_the_restricted_mean_has_the_sampling_variance_of_the_known_answer():
    assert restricted_mean(T1, E1, 12) == pytest.approx((5.8, 2.112))
    assert restricted_mean(T2, E2, 12) == pytest.approx((8.8, 1.552))


def test_the_log_rank_test_gives_the_known_answer():
    assert log_rank_p((T1, E1), (T2, E2)) == pytest.approx(0.201244, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(runs)
def test_the_survival_function_agrees_with_lifelines(sample):
    times, reached = zip(*sample, strict=True)
    found = kaplan_meier(times, reached)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lifelines speaks of its own confidence intervals
        fitted = KaplanMeierFitter().fit(times, reached)
    assert found.survival == pytest.approx(fitted.predict(found.times).tolist())


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 30) | st.just(INF), min_size=1, max_size=12))
def test_the_median_is_that_of_kaplan_and_meier_also_of_an_even_number_and_with_misses(times):
    """The oracle is lifelines, on runs that were all seen to one horizon."""
    seen = np.minimum(times, 40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = KaplanMeierFitter().fit(seen, seen < 40)
    curve = fitted.survival_function_.iloc[:, 0]
    # Its products round: the half of six runs is a little above one half.
    half = curve.index[curve <= 0.5 + 1e-9]
    assert median_time(times) == (half[0] if len(half) else INF)


@settings(deadline=None, max_examples=40)
@given(runs, runs)
def test_the_log_rank_test_agrees_with_lifelines(one, other):
    (t1, e1), (t2, e2) = (zip(*arm, strict=True) for arm in (one, other))
    found = log_rank_p((t1, e1), (t2, e2))
    if found is not None:
        assert found == pytest.approx(logrank_test(t1, t2, e1, e2).p_value, abs=1e-9)


def test_with_one_horizon_the_restricted_mean_is_that_of_restricted_times():
    random = np.random.default_rng(1)
    times = np.minimum(random.integers(1, 60, 12), 40)
    mean, variance = restricted_mean(times, times < 40, 40)
    assert mean == pytest.approx(times.mean())
    assert variance == pytest.approx(times.var() / 12)


def test_if_nobody_reaches_the_target_the_whole_budget_is_spent():
    assert restricted_mean([12, 12], [0, 0], 12) == (12.0, 0.0)
    assert median_time([INF, INF]) == INF
    assert log_rank_p(([12], [0]), ([12], [0])) is None
    assert log_rank_p(([], []), ([12], [0])) is None


def test_times_that_are_none_are_an_error():
    with pytest.raises(ValueError, match="finite"):
        kaplan_meier([1.0, np.inf], [1, 0])
    with pytest.raises(ValueError, match="each"):
        kaplan_meier([1.0, 2.0], [1])
