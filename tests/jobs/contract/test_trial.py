"""The trial's id and seeds: decided once, so known answers are written down here."""

import hashlib
import json
from dataclasses import replace

import pytest

from jobs.contract.trial import (
    STREAMS,
    Candidate,
    ImageWorkload,
    Trial,
    block_seeds,
    canonical_json,
    stream_seed,
)

WORKLOAD = ImageWorkload(name="w", dataset="digits", model="convnet", epochs=12, global_batch=128)
CANDIDATE = Candidate(name="c", optimizer="adamw", hyperparameters={"lr": 1e-3})


def _trial(workload=WORKLOAD, candidate=CANDIDATE, phase="compare", block=0, **rest) -> Trial:
    seeds = block_seeds(0, phase, workload, block, candidate.noise_seed)
    return Trial(workload, candidate, phase, block, seeds, **rest)


def test_the_id_of_a_written_down_trial_never_changes():
    assert _trial().id == "f31d4f51fb8e379a"


def test_the_id_is_the_hash_of_the_documented_content():
    trial = _trial()
    text = json.dumps(trial.content(), sort_keys=True, separators=(",", ":"))
    assert trial.id == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert trial.content()["id_version"] == 1


@pytest.mark.parametrize(
    "other",
    [
        _trial(workload=replace(WORKLOAD, epochs=13)),
        _trial(workload=replace(WORKLOAD, dataset_options={"a": 1})),
        _trial(workload=replace(WORKLOAD, augment=("hflip",))),
        _trial(workload=replace(WORKLOAD, split="replication")),
        _trial(workload=replace(WORKLOAD, train_images=10)),
        _trial(candidate=replace(CANDIDATE, hyperparameters={"lr": 2e-3})),
        _trial(candidate=replace(CANDIDATE, replica=1)),
        _trial(candidate=replace(CANDIDATE, noise_seed=1)),
        _trial(phase="tune"),
        _trial(block=1),
        _trial(threads=2),
        _trial(world_size=2),
        _trial(precision="bf16"),
        _trial(execution="vectorised"),
    ],
    ids=str,
)
def test_whatever_changes_the_result_changes_the_id(other):
    assert other.id != _trial().id


def test_labels_cost_nothing():
    renamed = _trial(workload=replace(WORKLOAD, name="x"), candidate=replace(CANDIDATE, name="y"))
    assert renamed.id == _trial().id
    assert renamed.seeds == _trial().seeds


def test_a_trial_survives_its_json_with_fields_of_later_versions():
    trial = _trial(workload=replace(WORKLOAD, augment=("hflip", "crop")))
    record = json.loads(json.dumps(trial.to_json()))
    record["later"] = record["workload"]["later"] = record["candidate"]["later"] = 1
    again = Trial.from_json(record)
    assert again == trial
    assert again.id == trial.id


def test_a_trial_of_another_id_version_is_refused():
    with pytest.raises(ValueError, match="id version 2"):
        Trial.from_json(_trial().to_json() | {"id_version": 2})


def test_content_that_json_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"lr": float("nan")})


def test_a_stream_seed_is_the_documented_hash():
    key = b'["v1",7,"tune","abc",3,"order"]'
    expected = int.from_bytes(hashlib.sha256(key).digest()[:8], "big")
    assert stream_seed(7, "tune", "abc", 3, "order") == expected


def test_streams_blocks_phases_workloads_and_studies_have_seeds_of_their_own():
    other = replace(WORKLOAD, dataset="mnist")
    seeds = [
        seed
        for root in (0, 1)
        for phase in ("pilot", "tune", "compare")
        for workload in (WORKLOAD, other)
        for block in (0, 1)
        for seed in block_seeds(root, phase, workload, block).values()
    ]
    assert len(set(seeds)) == 2 * 3 * 2 * 2 * len(STREAMS)


def test_a_noise_seed_moves_the_noise_alone():
    plain, moved = (
        block_seeds(0, "compare", WORKLOAD, 0),
        block_seeds(0, "compare", WORKLOAD, 0, 5),
    )
    assert {stream for stream in STREAMS if plain[stream] != moved[stream]} == {"noise"}
