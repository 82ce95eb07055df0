"""Sharded parameters and states: what a whole model gives, or a refusal that says what to do."""

import pytest
from ranks import run_ranks
from sharded_runs import SHARDED, ZERO, fsdp, refusals, zero


def test_fsdp2_gives_what_the_whole_model_gives_noise_and_resumption_included() -> None:
    for of_rank in run_ranks(fsdp, 2):
        assert of_rank.keys() == SHARDED.keys()
        assert of_rank["quiet"] == {"weights": 0, "moments": 0}
        # The mean of v is summed in another order: 1e-7 of the noise's scale.
        assert of_rank["noise"]["weights"] < 1e-6
        assert of_rank["noise"]["moments"] < 1e-6


def test_zero_gives_the_bits_of_the_unsharded_optimizer_and_of_a_resumed_one() -> None:
    for of_rank in run_ranks(zero, 2):
        assert of_rank == dict.fromkeys(ZERO, True)


@pytest.fixture(scope="module")
def messages() -> list[dict[str, str]]:
    return run_ranks(refusals, 2)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("ZeRO, not attached", ["a part of the parameters", "thermolion.attach"]),
        ("ZeRO, local", ['gate is "local"', "ZeroRedundancyOptimizer", "another gate"]),
        ("FSDP2, replicas", ["'replicas'", "sharded", 'gate="averaged"']),
        ("FSDP2, replicas, unattached", ["nothing is attached", "thermolion.attach"]),
        ("FSDP2, verified", ["'0.weight'", "sharded", "leave the verification out"]),
        ("FSDP2, compared", ["'0.weight'", "sharded", "leave the verification out"]),
        ("columns", ["Shard(dim=1)", "dimension 0", "noise=False"]),
        ("fused", ["fused is true", "sharded (DTensor)"]),
    ],
)
def test_what_cannot_be_right_is_refused_with_the_way_out(
    messages: list[dict[str, str]], what: str, words: list[str]
) -> None:
    for of_rank in messages:
        for word in words:
            assert word in of_rank[what], of_rank[what]
        assert "set foreach" not in of_rank["fused"]  # which is refused as well


def test_without_noise_any_layout_is_stepped(messages: list[dict[str, str]]) -> None:
    assert [of_rank["columns, quiet"] for of_rank in messages] == ["", ""]
