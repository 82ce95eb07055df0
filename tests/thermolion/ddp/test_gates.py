"""Replicas stay equal to the bit under every gate, whatever a training does around it."""

from functools import cache
from typing import Any

import pytest
from ranks import run_ranks
from replica_runs import HALF_PRECISION, Run, several

GATES = ("averaged", "replicas", "local")
LONG = {gate: Run(gate) for gate in GATES} | {"published": Run(None, steps=20)}
# What else a training does, for each gate.
AROUND: dict[str, dict[str, Any]] = {
    "accumulation under no_sync": {"passes": 3},
    "accumulation and clipping": {"passes": 2, "clip": 0.1},
    "gradients as views of buckets": {"views": True},
    "bf16 autocast": {"autocast": True},
    "a scaler, and an overflow on one rank": {"scaler": True, "overflow_at": 5},
    "a scaler, clipping, and an overflow": {"scaler": True, "clip": 0.1, "overflow_at": 5},
    "the for-loop": {"options": {"foreach": False}},
}
MORE = {
    "averaged, bf16 communication": Run("averaged", 15, reduce=HALF_PRECISION),
    "replicas, bf16 communication": Run("replicas", 15, reduce=HALF_PRECISION),
    "replicas, a reference below": Run("replicas", 15, {"reference_batch": 1}),
    "replicas, a reference above": Run("replicas", 15, {"reference_batch": 64}),
    "replicas, all fed": Run("replicas", 15, {"reference_batch": 2, "replicas_feed": "all"}),
}
SHORT = {
    f"{gate}, {what}": Run(gate, 15, **around) for gate in GATES for what, around in AROUND.items()
} | MORE


@cache
def ran(world_size: int, long: bool) -> list[dict[str, dict[str, Any]]]:
    """Return what each rank has to say of each run; all of them start once."""
    return run_ranks(several, world_size, LONG if long else SHORT)


def unequal_steps(results: list[dict[str, dict[str, Any]]], name: str) -> list[int]:
    prints = zip(*(of_rank[name]["prints"] for of_rank in results), strict=True)
    return [step for step, of_ranks in enumerate(prints) if len(set(of_ranks)) > 1]


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("gate", GATES)
def test_replicas_are_equal_to_the_bit_at_each_of_300_steps(gate: str, world_size: int) -> None:
    results = ran(world_size, True)
    assert unequal_steps(results, gate) == []
    for of_rank in results:
        assert len(of_rank[gate]["prints"]) == 300
        assert of_rank[gate]["finite"]
        assert of_rank[gate]["moved"] > 1


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_published_formula_with_a_noise_per_rank_fails_the_same_comparison(
    world_size: int,
) -> None:
    assert unequal_steps(ran(world_size, True), "published") == list(range(20))


@pytest.mark.parametrize("name", SHORT)
def test_replicas_are_equal_whatever_the_training_does(name: str) -> None:
    results = ran(2, False)
    assert unequal_steps(results, name) == []
    for of_rank in results:
        taken = 14 if "overflow" in name else 15
        assert of_rank[name]["steps"] == {taken}
        assert of_rank[name]["finite"]
        assert of_rank[name]["moved"] > 0.5
