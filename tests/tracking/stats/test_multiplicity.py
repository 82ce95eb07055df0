"""Adjusted p-values against a known answer and statsmodels."""

from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from tracking.stats.multiplicity import benjamini_hochberg, holm

P = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205]

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def test_holm_gives_the_known_answer():
    assert holm(P) == pytest.approx([0.008, 0.056] + [0.234] * 6, abs=1e-6)


def test_benjamini_hochberg_gives_the_known_answer():
    expected = [0.008, 0.032, 0.0672, 0.0672, 0.0672, 0.08, 0.0846, 0.205]
    assert benjamini_hochberg(P) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(("ours", "theirs"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
@settings(deadline=None)
@given(p=p_values)
def test_adjustment_agrees_with_statsmodels(ours, theirs, p):
    with mock.patch("gc.collect"):  # statsmodels asks for it: a second, beside all of MLflow
        expected = multipletests(p, method=theirs)[1]
    assert ours(p) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_a_test_without_a_p_value_keeps_its_place(adjust):
    assert adjust([0.01, None]) == [pytest.approx(0.02), None]
    assert adjust([]) == []


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_an_error(bad):
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([bad])
