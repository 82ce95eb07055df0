"""The spaces in which learning rates are looked for if none are written, and measured rates."""

import csv
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest

from orchestrator.sweep.tune_spaces import usual_space
from thermolion.registry import OPTIMIZERS

MEASURED = Path(__file__).parents[3] / "benchmarks" / "learning_rates.csv"
HALF_A_DECADE = 0.49  # of log10: the ends are rounded to three digits, the rates to two
# The candidates that have been tuned so far keep their points, and with these their ids.
AS_BEFORE = {
    "thermolion": (3.16e-5, 3.16e-2),
    "lion": (3.16e-6, 3.16e-3),
    "adam": (3.16e-5, 3.16e-2),
    "adamw": (3.16e-5, 3.16e-2),
    "nadam": (6.32e-5, 6.32e-2),
    "muadam": (3.16e-5, 3.16e-2),
    "lookahead": (3.16e-5, 3.16e-2),
    "swats": (3.16e-5, 3.16e-2),
    "swats_notebook": (3.16e-5, 3.16e-2),
}


def best_rates() -> list[tuple[str, str, float]]:
    with MEASURED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [(row["optimizer"], row["workload"], float(row["best_lr"])) for row in rows]


def range_of(optimizer: str) -> tuple[float, float]:
    space = usual_space(optimizer, {})
    assert space is not None
    return space["lr"].low, space["lr"].high


@pytest.mark.parametrize(("optimizer", "workload", "best"), best_rates())
def test_the_best_rate_lies_half_a_decade_within_the_usual_space(
    optimizer: str, workload: str, best: float
) -> None:
    low, high = range_of(optimizer)
    inside = math.log10(best / low), math.log10(high / best)
    assert min(inside) >= HALF_A_DECADE, f"{best:g} on {workload}, of {low:g} to {high:g}"


@pytest.mark.parametrize(
    ("optimizer", "default", "ends"),
    [
        ("sgd", 1e-3, (3.16e-3, 3.16)),
        ("swa", 1e-2, (3.16e-3, 3.16)),
        ("rmsprop", 1e-2, (3.16e-5, 3.16e-2)),
    ],
)
def test_a_space_is_around_the_published_rate_if_the_default_is_another(
    optimizer: str, default: float, ends: Sequence[float]
) -> None:
    assert OPTIMIZERS[optimizer].defaults["lr"] == default  # in the ids of untuned candidates
    assert range_of(optimizer) == ends


@pytest.mark.parametrize(("optimizer", "ends"), AS_BEFORE.items())
def test_a_space_that_was_right_stays_as_it_was(optimizer: str, ends: Sequence[float]) -> None:
    assert range_of(optimizer) == ends


def test_every_registered_optimizer_was_measured_on_three_workloads() -> None:
    measured = [(optimizer, workload) for optimizer, workload, _ in best_rates()]
    workloads = {workload for _, workload in measured}
    assert len(workloads) == 3
    assert sorted(measured) == sorted(product(OPTIMIZERS, workloads))
