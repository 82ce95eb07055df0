"""Each gate in real processes equals its formula, computed from the gradients of every rank."""

from typing import Any

import pytest
from gated_runs import LOCAL_BATCH, all_compared
from ranks import run_ranks

Case = tuple[str, float, dict[str, Any]]


def cases(world_size: int) -> dict[str, Case]:
    """By name: the gate, the weight k of S - G² in its formula, and the options that mean it."""
    batch = LOCAL_BATCH * world_size

    def factor(reference: int) -> float:
        return (LOCAL_BATCH / reference - 1 / world_size) * world_size / (world_size - 1)

    one, share, twice = (
        {"reference_batch": number, "replicas_feed": feed}
        for number, feed in ((1, "gate"), (LOCAL_BATCH, "gate"), (2 * batch, "gate"))
    )
    return {
        "averaged": ("averaged", 0.0, {}),
        "local": ("local", 0.0, {}),
        "replicas": ("replicas", 1.0, {}),
        "a sample": ("replicas", factor(1), one),
        "a share": ("replicas", 1.0, share),
        "twice the batch": ("replicas", factor(2 * batch), twice),
        "all, a share": ("replicas", 1.0, {"replicas_feed": "all"}),
        "all, a sample": ("replicas", factor(1), one | {"replicas_feed": "all"}),
        "all, the batch": ("replicas", 0.0, {"reference_batch": batch, "replicas_feed": "all"}),
    }


@pytest.mark.parametrize("world_size", [2, 3])
def test_every_gate_equals_its_formula(world_size: int) -> None:
    for errors in run_ranks(all_compared, world_size, cases(world_size)):
        assert errors.keys() == cases(world_size).keys()
        assert {name: error for name, error in errors.items() if not error < 1e-12} == {}
