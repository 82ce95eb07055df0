"""Joins, flat shards, far references and named states over ranks: right, or refused everywhere."""

import pytest
from odd_ranks import fed, flat, joined, named
from ranks import run_ranks


def test_a_gate_over_ranks_is_refused_within_join_and_hangs_nobody() -> None:
    for of_rank in run_ranks(joined, 2, ["local", "replicas", "averaged"], seconds=120):
        assert of_rank["averaged"] == ""
        for gate in ("local", "replicas"):
            for way in (gate, f"{gate}, by its class"):
                assert f'gate is "{gate}"' in of_rank[way]
                assert "equally many steps" in of_rank[way]
            assert of_rank[f"{gate}, disabled"] == ""


@pytest.mark.parametrize("originals", [True, False])
def test_flat_shards_take_no_noise_and_without_it_are_the_whole_model_and_saved(
    originals: bool,
) -> None:
    for of_rank in run_ranks(flat, 2, originals, seconds=120):
        assert "fully_shard" in of_rank["refused"]
        assert "noise=False" in of_rank["refused"]
        assert "fully_shard" in of_rank["loaded"]
        assert "fully_shard" in of_rank["wrapped"]
        assert of_rank["off"] < 1e-6
        assert of_rank["saved"]


def test_a_reference_above_the_global_batch_feeds_no_v_and_shorter_steps_stay_bounded() -> None:
    for of_rank in run_ranks(fed, 2, seconds=120):
        assert "reference_batch is 64, above the global batch of 32" in of_rank["said"]
        # The magnitude step is 2·|m|/√v at most, and |m|/√v is 2.36 at most.
        assert of_rank["longest"] < 2 * 2.36


def test_states_that_are_mapped_by_name_go_on_with_the_same_bits_on_every_rank() -> None:
    for of_rank in run_ranks(named, 2, seconds=120):
        assert of_rank == {"FSDP2": True, "gated": True}
