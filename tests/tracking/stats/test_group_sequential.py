"""Group-sequential limits and repeated p-values against published figures and another integral."""

import numpy as np
import pytest
from scipy import stats

from tracking.stats.group_sequential import crossing_probability, limits, repeated_p

QUARTERS = (5, 10, 15, 20)
LOOKS = (3, 5, 7, 10)


@pytest.mark.parametrize(
    ("looks", "alpha", "expected"),
    [
        (LOOKS, 0.05, (0.000231, 0.00434, 0.0159, 0.0437)),
        (LOOKS, 0.00625, (4.9e-7, 9.8e-5, 0.000992, 0.00587)),
        (LOOKS, 0.003125, (5.9e-8, 2.7e-5, 0.000385, 0.00298)),
        (QUARTERS, 0.05, (5.15e-5, 0.00420, 0.0194, 0.0429)),
        (QUARTERS, 0.00625, (3.3e-8, 9.4e-5, 0.00143, 0.00574)),
    ],
)
def test_the_limits_of_obrien_and_fleming_are_the_known_ones(looks, alpha, expected):
    assert limits(looks, alpha) == pytest.approx(expected, rel=0.02)
    assert limits(looks, alpha)[-1] == pytest.approx(expected[-1], rel=0.003)


@pytest.mark.parametrize(
    ("looks", "alpha", "expected"),
    [
        (LOOKS, 0.05, 0.0188),
        (LOOKS, 0.00625, 0.00206),
        (LOOKS, 0.003125, 0.0010),
        (QUARTERS, 0.05, 0.0182),
        (QUARTERS, 0.00625, 0.00202),
    ],
)
def test_the_limits_of_pocock_are_the_known_ones(looks, alpha, expected):
    assert limits(looks, alpha, "pocock") == pytest.approx([expected] * 4, rel=0.005)


def test_four_equal_looks_have_the_published_constants():
    def constant(shape):
        return stats.norm.isf(limits(QUARTERS, 0.05, shape)[-1] / 2)

    assert constant("obrien-fleming") == pytest.approx(2.024, abs=5e-4)
    assert constant("pocock") == pytest.approx(2.361, abs=5e-4)


@pytest.mark.parametrize(
    ("looks", "alpha", "obrien_fleming", "pocock"),
    [
        (LOOKS, 0.05, 2.0168, 2.3501),
        (LOOKS, 0.00625, 2.7549, None),
        (LOOKS, 0.003125, 2.970, 3.29),
        (QUARTERS, 0.05, 2.0243, 2.3613),
        (QUARTERS, 0.00625, 2.7621, None),
    ],
)
def test_the_constants_behind_the_limits_are_the_known_ones(looks, alpha, obrien_fleming, pocock):
    def constant(shape):
        return stats.norm.isf(limits(looks, alpha, shape)[-1] / 2)

    assert constant("obrien-fleming") == pytest.approx(obrien_fleming, abs=1.5e-3)
    assert pocock is None or constant("pocock") == pytest.approx(pocock, abs=3e-3)


@pytest.mark.parametrize(
    ("looks", "look", "p", "obrien_fleming", "pocock"),
    [
        (LOOKS, 2, 0.001, 0.022074, 0.003120),
        (LOOKS, 4, 0.04, 0.045549, 0.100107),
        (QUARTERS, 1, 0.001, 0.12156, 0.003187),
        (QUARTERS, 4, 0.03, 0.034404, 0.079247),
    ],
)
def test_repeated_p_values_are_the_known_ones(looks, look, p, obrien_fleming, pocock):
    assert repeated_p(looks, look, p) == pytest.approx(obrien_fleming, abs=2e-6)
    assert repeated_p(looks, look, p, "pocock") == pytest.approx(pocock, abs=2e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_chance_of_crossing_agrees_with_the_multivariate_normal(seed):
    random = np.random.default_rng(seed)
    looks = np.cumsum(random.integers(1, 9, 3))
    bounds = random.uniform(1.2, 3.5, 3)
    correlation = np.sqrt(np.minimum.outer(looks, looks) / np.maximum.outer(looks, looks))
    inside = stats.multivariate_normal(cov=correlation).cdf(
        bounds, lower_limit=-bounds, rng=np.random.default_rng(0)
    )
    assert crossing_probability(looks, bounds) == pytest.approx(1 - inside, abs=2e-5)


def test_a_p_value_at_the_limit_of_its_look_has_the_level_as_its_repeated_p_value():
    for look, limit in enumerate(limits(LOOKS, 0.03), 1):
        assert repeated_p(LOOKS, look, limit) == pytest.approx(0.03, abs=1e-9)


def test_one_look_is_an_ordinary_test():
    assert limits([10], 0.05) == pytest.approx([0.05])
    assert repeated_p([10], 1, 0.02) == pytest.approx(0.02)
    assert repeated_p(LOOKS, 1, 0.0) == 0.0
    assert repeated_p(LOOKS, 4, 1.0) == pytest.approx(1.0)


def test_looks_that_are_none_are_an_error():
    with pytest.raises(ValueError, match="rising"):
        limits([5, 5], 0.05)
    with pytest.raises(ValueError, match="level"):
        limits(LOOKS, 0)
    with pytest.raises(ValueError, match="look 5"):
        repeated_p(LOOKS, 5, 0.1)
    with pytest.raises(ValueError, match="p-value"):
        repeated_p(LOOKS, 1, 1.1)
