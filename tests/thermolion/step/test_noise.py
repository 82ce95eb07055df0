"""The draws of the noise: standard normal, independent wherever they should be, and a function.

Every sample is fixed by its key, so that a test that passes once passes always; the bounds are
those that a fresh sample would break once in 10⁴ tests or less.
"""

from functools import cache

import numpy as np
import pytest
import torch
from normal_draws import standard_normal
from numpy.typing import NDArray
from scipy import stats

from thermolion.step.noise import ROW, keyed_generator, mix, stream_key

MILLION = 2**20


@cache
def _draws(count: int = MILLION, **key: int) -> NDArray[np.float64]:
    options = {"seed": 7, "step": 1, "param_id": 0} | key
    return standard_normal(count, **options, dtype=torch.float64).numpy()  # type: ignore[arg-type]  # ints by name


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return √n times the mean product: standard normal if the two are independent."""
    return float((one * other).mean() * np.sqrt(one.size))


def test_a_million_draws_have_the_moments_of_the_normal_distribution() -> None:
    draws, root = _draws(), np.sqrt(MILLION)
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        assert abs((draws**power).mean() - mean) < 4 * np.sqrt(variance) / root, power
    assert 4.4 < np.abs(draws).max() < 6.7


@pytest.mark.parametrize(
    "key", [{}, {"step": 458}, {"param_id": 61}, {"seed": 2**63 + 5}], ids=str
)
def test_a_million_draws_are_distributed_normally(key: dict[str, int]) -> None:
    assert stats.kstest(_draws(**key), "norm").pvalue > 1e-4


def test_the_tail_has_its_share() -> None:
    draws = np.concatenate([_draws(step=step) for step in range(1, 5)])
    for edge in (3.0, 4.0, 4.5):
        expected = 2 * stats.norm.sf(edge) * draws.size
        beyond = (np.abs(draws) > edge).sum()
        assert abs(beyond - expected) < 4 * np.sqrt(expected), edge


@pytest.mark.parametrize(
    "lag", [1, 2, 3, 4, 8, 64, 256, 511, 512, 513, 1023, 1024, 1025, 4096, 65536]
)
def test_elements_are_not_correlated_at_a_distance(lag: int) -> None:
    draws = _draws()
    one, other = draws[:-lag], draws[lag:]
    assert abs(_correlation(one, other)) < 4
    assert abs(_correlation(one**2 - 1, other**2 - 1)) < 4 * 2
    assert abs(_correlation(np.sign(one), np.sign(other))) < 4


@pytest.mark.parametrize(
    "key",
    [
        *({"step": step} for step in (0, 2, 3, 257)),
        *({"param_id": number} for number in (1, 2, 256, 2**40)),
        *({"seed": seed} for seed in (6, 8, 7 + 2**32, -7)),
        {"seed": 1, "param_id": 7},
    ],
    ids=str,
)
def test_other_steps_parameters_and_seeds_have_draws_of_their_own(key: dict[str, int]) -> None:
    one, other = _draws(), _draws(**key)
    assert abs(_correlation(one, other)) < 4
    assert abs(_correlation(one**2 - 1, other**2 - 1)) < 4 * 2
    assert not np.intersect1d(one[:ROW], other[:ROW]).size


def test_one_element_over_thousands_of_steps_is_as_random_as_one_step() -> None:
    draws = np.stack([_draws.__wrapped__(256, step=step) for step in range(1, 3001)])
    values = [stats.kstest(column, "norm").pvalue for column in draws.T]
    assert stats.kstest(values, "uniform").pvalue > 1e-4
    lagged = [_correlation(column[:-1], column[1:]) for column in draws.T]
    assert stats.kstest(lagged, "norm").pvalue > 1e-4
    between = np.corrcoef(draws.T)[np.triu_indices(256, 1)] * np.sqrt(3000)
    assert stats.kstest(between, "norm").pvalue > 1e-4
    assert np.abs(between).max() < 5.5


def test_sums_of_rows_and_of_their_squares_are_distributed_as_they_should() -> None:
    rows = _draws().reshape(-1, ROW)
    assert stats.kstest(rows.sum(axis=1) / np.sqrt(ROW), "norm").pvalue > 1e-4
    assert stats.kstest((rows**2).sum(axis=1), stats.chi2(ROW).cdf).pvalue > 1e-4


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(
    "places", [(0, 1, 2), (0, 511, 512), (0, 512, 513), (0, 1024, 2048), (0, 1, 1024)], ids=str
)
def test_three_elements_fill_the_cube_evenly(places: tuple[int, ...], step: int) -> None:
    # Hashes that multiply by one number a row pass tests of pairs, and put triples on planes.
    uniform = stats.norm.cdf(_draws(step=step))
    cells = [(uniform * 16).astype(int).clip(0, 15)[p : MILLION - 2048 + p] for p in places]
    counts = np.bincount(cells[0] * 256 + cells[1] * 16 + cells[2], minlength=4096)
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize(
    ("begin", "count"),
    [(0, 0), (0, 1), (1, 1), (511, 2), (1023, 2), (1024, 1024), (700, 5000), (99_999, 1)],
)
def test_the_draws_of_a_part_are_the_part_of_the_draws(begin: int, count: int) -> None:
    key = {"seed": 3, "step": 5, "param_id": 2}
    whole = standard_normal(100_000, **key)  # type: ignore[arg-type]  # ints by name
    part = standard_normal(count, begin, **key)  # type: ignore[arg-type]  # ints by name
    assert torch.equal(part, whole[begin : begin + count])


def test_draws_are_the_same_in_every_type_but_for_rounding() -> None:
    wide = standard_normal(5000, seed=1, step=1, param_id=1, dtype=torch.float64)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        narrow = standard_normal(5000, seed=1, step=1, param_id=1, dtype=dtype)
        assert narrow.dtype == dtype
        assert torch.equal(narrow, wide.to(dtype))


def test_draws_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    standard_normal(10, seed=1, step=1, param_id=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_draws_of_today_are_those_of_tomorrow() -> None:
    # A study that is resumed by another version goes on with the noise that it began with.
    first = standard_normal(4, seed=1, step=2, param_id=3).tolist()
    assert first == pytest.approx([1.010019, -0.858447, 1.540246, -0.123919], abs=1e-5)
    assert stream_key(1, 3) == (2217388788, 4182946415)


def test_the_mixing_of_words_is_a_bijection_that_numbers_and_tensors_share() -> None:
    words = torch.arange(2**16) * 65521
    mixed = mix(words)
    assert len(mixed.unique()) == len(words)
    assert [mix(int(word)) for word in words[:50]] == mixed[:50].tolist()
    # Half of the bits turn over, whichever one is turned.
    for bit in range(32):
        turned = (mix(words ^ (1 << bit)) ^ mixed).numpy().astype(np.uint32)
        share = np.unpackbits(turned.view(np.uint8)).mean()
        assert abs(share - 0.5) < 0.01, bit


def test_a_keyed_generator_is_a_function_of_its_key() -> None:
    one, same, other = (torch.rand(3, generator=keyed_generator("cpu", 1, k)) for k in "aab")
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
