"""Squares reduced beside gradients by a hook on DDP, in two real processes."""

from typing import Any

import pytest
from exchanges import clipped, errors, refusals, unequal
from ranks import run_ranks


@pytest.fixture(scope="module")
def reports() -> dict[str, list[Any]]:
    """Return what each rank reports, by program."""
    return {program.__name__: run_ranks(program, 2) for program in (errors, unequal, refusals)}


def test_the_squares_are_those_of_the_ranks_own_gradients_to_the_bit(
    reports: dict[str, list[Any]],
) -> None:
    for of_rank in reports["errors"]:
        assert len(of_rank) == 17
        assert {name: error for name, error in of_rank.items() if error != 0} == {}


def test_clipping_scales_the_squares_as_if_every_rank_had_been_clipped_alike() -> None:
    for error, coefficient, norm in run_ranks(clipped, 2):
        assert norm > 0.1
        assert coefficient < 0.01
        assert error < 1e-5


def test_unequal_shares_hold_for_one_pass_and_weigh_the_squares(
    reports: dict[str, list[Any]],
) -> None:
    for shares, error in reports["unequal"]:
        assert shares == [[2, 2], [1, 2], [2, 2]]
        assert error == 0


def test_a_pass_that_adds_to_reduced_gradients_and_a_step_without_a_pass_are_refused(
    reports: dict[str, list[Any]],
) -> None:
    for messages in reports["refusals"]:
        assert "all passes of a step but the last one under `no_sync()`" in messages["second pass"]
        assert "no squared gradients for 4 of 4 parameters" in messages["second step"]
        assert "run one backward pass" in messages["second step"]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("second hook", ["has a communication hook already", "attach(..., reduce=hook)"]),
        ("a step after it", ["nothing is attached"]),
        ("no DDP, a hook", ["reduce is", "is a Sequential", "wrap it in"]),
        ("no DDP", ["is a Sequential", "wrap it in DistributedDataParallel"]),
        ("local, with a hook", ['gate is "local"', "leave `reduce` out"]),
        ("no global batch", ["reference_batch is 8", "attach(..., global_batch=...)"]),
    ],
)
def test_an_attachment_that_cannot_work_is_refused_with_the_next_step(
    reports: dict[str, list[Any]], what: str, words: list[str]
) -> None:
    for messages in reports["refusals"]:
        for word in words:
            assert word in messages[what], messages[what]
