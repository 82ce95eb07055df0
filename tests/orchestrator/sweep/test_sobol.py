"""The points that settings are tried at, against scipy's."""

import warnings

import numpy as np
from scipy.stats import qmc

from orchestrator.sweep.search_space import MOST_DIMENSIONS, point


def test_points_are_those_of_sobol_in_every_dimension():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy would rather have powers of two
        theirs = qmc.Sobol(MOST_DIMENSIONS, scramble=False).random(200)
    ours = [point(number, MOST_DIMENSIONS, None) for number in range(200)]
    np.testing.assert_array_equal(ours, theirs)


def test_shifted_points_stay_even_and_depend_on_the_seed():
    shifted = np.array([point(number, 3, seed=7) for number in range(64)])
    assert ((shifted >= 0) & (shifted < 1)).all()
    for axis in shifted.T:  # one in each 64th, as without the shift
        assert sorted(np.floor(64 * axis)) == list(range(64))
    assert qmc.discrepancy(shifted) < qmc.discrepancy(np.random.default_rng(0).random((64, 3))) / 3
    assert point(0, 3, seed=8) != point(0, 3, seed=7)
    assert point(5, 3, seed=7)[:2] == point(5, 2, seed=7)
