"""Targets from pilots, against numbers worked out by hand."""

from dataclasses import replace

import pytest

from jobs.contract.workloads.workload import MetricSpec
from tracking.compare.targets import derive_targets


def pilot(one):
    return replace(one, trial=replace(one.trial, phase="pilot"))


def test_a_target_lies_a_part_of_the_way_from_chance_to_the_median_of_the_better_baseline(outcome):
    curves = {"adamw": [0.8, 0.9, 0.7], "lion": [0.95, 0.6, 0.65]}
    pilots = [
        pilot(outcome(name, block=block, curve=[(0, 0.1), (10, best), (40, best - 0.05)]))
        for name, bests in curves.items()
        for block, best in enumerate(bests)
    ]
    (found,) = derive_targets(pilots, 0.95)
    assert (found.baseline, found.n, found.reference) == ("adamw", 3, 0.8)
    assert found.value == pytest.approx(0.1 + 0.95 * 0.7)


def test_a_pilot_that_diverged_reached_chance(outcome):
    pilots = [
        pilot(outcome("adamw", block=0, curve=[(0, 0.1), (40, 0.8)])),
        pilot(outcome("adamw", block=1, curve=[(0, 0.1), (10, 0.99)], state="diverged")),
        pilot(outcome("adamw", block=2, curve=[(0, 0.1), (40, 0.6)])),
    ]
    assert derive_targets(pilots, 1.0)[0].value == pytest.approx(0.6)


def test_of_a_loss_the_lower_one_is_better_and_chance_is_where_training_begins(user_outcome):
    reading = MetricSpec("val_loss", goal="min")
    pilots = [
        pilot(
            user_outcome(
                "adamw", block=block, curve=[(0, 4.0), (50, low), (100, 3.0)], reading=reading
            )
        )
        for block, low in enumerate([2.0, 2.2, 2.6])
    ]
    assert derive_targets(pilots, 0.5)[0].value == pytest.approx((4.0 + 2.2) / 2)


def test_pilots_that_learned_nothing_give_no_target(outcome):
    pilots = [pilot(outcome("adamw", block=b, curve=[(0, 0.1), (40, 0.1)])) for b in range(3)]
    assert derive_targets(pilots, 0.95)[0].value is None
