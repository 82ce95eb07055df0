"""Interquartile means and probabilities of improvement against rliable, which defines them."""

import numpy as np
import pytest
from rliable import library, metrics

from tracking.stats.bootstrap import interquartile_mean, probability_of_improvement

# The known answer of the design: IQM 0.7 and 0.675, probability 0.625 (paired it is 0.4375).
FIRST = np.array([[0.9, 0.5], [0.8, 0.6], [0.85, 0.55], [0.95, 0.4]])
SECOND = np.array([[0.7, 0.5], [0.85, 0.65], [0.75, 0.6], [0.8, 0.45]])


def drawn(seed, runs=6, tasks=7):
    random = np.random.default_rng(seed)
    spread = random.normal(0.5, 0.2, (1, tasks))
    return (spread + random.normal(0, 0.1, (runs, tasks)) for _ in range(2))


def test_the_known_answers():
    assert interquartile_mean(FIRST.T).value == pytest.approx(0.7)
    assert interquartile_mean(SECOND.T).value == pytest.approx(0.675)
    assert probability_of_improvement(FIRST.T, SECOND.T).value == pytest.approx(0.625)


@pytest.mark.parametrize("seed", range(4))
def test_values_are_those_of_rliable(seed):
    first, second = drawn(seed)
    first, second = first.round(1), second.round(1)  # with ties
    assert interquartile_mean(first.T).value == pytest.approx(metrics.aggregate_iqm(first))
    mine = probability_of_improvement(first.T, second.T).value
    assert mine == pytest.approx(metrics.probability_of_improvement(first, second))


def test_intervals_are_those_of_rliables_stratified_bootstrap():
    first, second = drawn(9)
    np.random.seed(3)
    ours = interquartile_mean(first.T)
    _, theirs = library.get_interval_estimates({"a": first}, metrics.aggregate_iqm, reps=1000)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs["a"].ravel()), abs=0.006)
    better = probability_of_improvement(first.T, second.T)
    _, theirs = library.get_interval_estimates(
        {"a,b": (first, second)}, metrics.probability_of_improvement, reps=300
    )
    assert (better.low, better.high) == pytest.approx(tuple(theirs["a,b"].ravel()), abs=0.03)


def test_equal_data_have_equal_intervals_and_workloads_may_have_unlike_numbers_of_runs():
    runs = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.6]]
    assert interquartile_mean(runs) == interquartile_mean(runs)
    assert interquartile_mean(runs).value == pytest.approx(0.35)
    found = probability_of_improvement([[3.0, 4.0], [1.0]], [[1.0], [1.0, 2.0]])
    assert found.value == pytest.approx((1 + 0.25) / 2)


def test_nothing_to_score_is_an_error():
    with pytest.raises(ValueError, match="needs a run"):
        interquartile_mean([[]])
    with pytest.raises(ValueError, match="no workload"):
        probability_of_improvement([], [])
