"""The trial's id and seeds: decided once, so known answers are written down here."""

import hashlib
import json
from dataclasses import replace

import pytest

from jobs.contract.asha import Rungs
from jobs.contract.content import canonical_json
from jobs.contract.trial import STREAMS, Candidate, Trial, block_seeds, stream_seed
from jobs.contract.workloads.evaluation_plan import EvaluationPlan
from jobs.contract.workloads.workload import (
    DivergenceLimit,
    ImageWorkload,
    MetricSpec,
    UserWorkload,
    Workload,
)

WORKLOAD = ImageWorkload(name="w", dataset="digits", model="convnet", epochs=12, global_batch=128)
COMMAND = UserWorkload(
    name="u", command="python train.py --lr {lr}", options={"depth": 2}, steps=30
)
FUNCTION = UserWorkload(name="f", train="my_lab.train:fit")
CANDIDATE = Candidate(name="c", optimizer="adamw", hyperparameters={"lr": 1e-3})
RECIPE = {
    "accumulate": 2,
    "clip_norm": 1.0,
    "ema": 0.999,
    "label_smoothing": 0.1,
    "no_decay": ["bias"],
    "schedule": {"constant": {"warmup": 0.1}},
}


def _trial(workload=WORKLOAD, candidate=CANDIDATE, phase="compare", block=0, **rest) -> Trial:
    seeds = block_seeds(0, phase, workload, block, candidate.noise_seed)
    return Trial(workload, candidate, phase, block, seeds, **rest)


@pytest.mark.parametrize(
    ("trial", "known"),
    [
        (_trial(), "f31d4f51fb8e379a"),
        (_trial(COMMAND), "ea609b1ec7a72803"),
        (_trial(FUNCTION), "7f4799444ed7eec3"),
        (_trial(phase="tune", rungs=Rungs((3, 6), 3, "a")), "39bc185d7bd35706"),
    ],
)
def test_the_id_of_a_written_down_trial_never_changes(trial, known):
    assert trial.id == known


@pytest.mark.parametrize(
    ("workload", "known"),
    [
        (WORKLOAD, "c08209a0502027f9"),
        (COMMAND, "82a1dab36ca2bde5"),
        (FUNCTION, "29e37dd9b04c3f61"),
        (replace(WORKLOAD, **RECIPE), "54a5e09d073a02c1"),
        (replace(WORKLOAD, evaluate=EvaluationPlan("1ep", 512, 2000)), "98447a60d868cf99"),
    ],
)
def test_the_key_of_a_written_down_workload_never_changes(workload, known):
    assert workload.key == known


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
        _trial(rungs=Rungs((6,), 3)),
        *(_trial(replace(WORKLOAD, **{name: value})) for name, value in RECIPE.items()),
    ],
    ids=str,
)
def test_whatever_changes_the_result_changes_the_id(other):
    assert other.id != _trial().id


def test_labels_cost_nothing():
    renamed = _trial(workload=replace(WORKLOAD, name="x"), candidate=replace(CANDIDATE, name="y"))
    assert renamed.id == _trial().id
    assert renamed.seeds == _trial().seeds


def test_a_limit_is_part_of_the_id_since_it_ends_trials():
    for workload in (WORKLOAD, COMMAND, FUNCTION):
        limited = replace(workload, diverged=DivergenceLimit("loss", above=20.0))
        assert "diverged" not in workload.content()
        assert _trial(workload=limited).id != _trial(workload=workload).id


def test_the_search_that_chose_the_settings_is_a_label_and_its_early_name_is_read():
    trial = _trial(FUNCTION, replace(CANDIDATE, search_number=2))
    record = trial.to_json()
    assert record["labels"]["search"] == 2
    assert record["labels"].keys() - _trial(FUNCTION, CANDIDATE).to_json()["labels"] == {"search"}
    assert trial.id == _trial(FUNCTION, CANDIDATE).id
    assert Trial.from_json(record) == trial
    record["labels"]["found_by"] = record["labels"].pop("search")
    assert Trial.from_json(record) == trial


def test_a_setting_and_whom_it_competes_with_are_labels():
    rungs = Rungs((6,), 3, "whom")
    setting = replace(CANDIDATE, name="c-1", setting_of="c")
    assert setting.declared == CANDIDATE.declared == "c"
    assert setting.key == CANDIDATE.key
    other = _trial(candidate=setting, rungs=replace(rungs, competitors="others"))
    assert other.id == _trial(rungs=rungs).id


FULL = replace(
    WORKLOAD,
    augment=("hflip", "crop"),
    evaluate=EvaluationPlan("50 steps", samples=2000),
    loader_workers=2,
    telemetry=True,
    declared_metric=MetricSpec("val_loss", goal="min", chance=2.3),
)


@pytest.mark.parametrize(
    "trial",
    [
        _trial(replace(FULL, **RECIPE | {"no_decay": ("bias",)})),
        _trial(replace(COMMAND, declared_metric=MetricSpec("fit", unit="percent", target=90.0))),
        _trial(replace(COMMAND, diverged=DivergenceLimit("fit", below=0.5))),
        _trial(FUNCTION, replace(CANDIDATE, setting_of="c"), "tune", rungs=Rungs((5, 9), 3, "x")),
    ],
    ids=["images", "command", "limit", "function"],
)
def test_a_trial_survives_its_json_with_fields_of_later_versions(trial):
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


def test_results_of_images_are_read_from_what_is_held_out_unless_declared_otherwise():
    assert WORKLOAD.metric_spec == MetricSpec("val_accuracy", "test_accuracy", unit="fraction")
    replication = replace(WORKLOAD, split="replication")
    assert (WORKLOAD.holds_out, replication.holds_out) == (True, False)
    assert replication.metric_spec.metric == "train_accuracy"
    declared = MetricSpec("val_loss", goal="min")
    for workload in (WORKLOAD, COMMAND):
        assert replace(workload, declared_metric=declared).metric_spec is declared


def test_the_two_kinds_of_workload_answer_the_same_questions():
    def answers(workload: Workload) -> tuple[object, ...]:
        return (workload.unit, workload.budget, workload.steps, workload.global_batch)

    assert answers(WORKLOAD) == ("epoch", 12, None, 128)
    assert answers(COMMAND) == ("step", 30, 30, None)
    assert answers(FUNCTION) == ("step", None, None, None)
    assert WORKLOAD.references == {"dataset": "digits", "model": "convnet"}
    assert COMMAND.references == {"command": "python train.py --lr {lr}"}
    assert FUNCTION.references == {"train": "my_lab.train:fit"}
    assert (WORKLOAD.command, FUNCTION.command) == (None, None)
    assert COMMAND.holds_out
    assert COMMAND.labels() == FUNCTION.labels() == WORKLOAD.labels() == {}


def test_two_models_on_one_data_set_are_one_data_set_and_two_options_of_a_loader_are_two():
    assert WORKLOAD.data_set == replace(WORKLOAD, model="mlp").data_set == "digits"
    assert replace(WORKLOAD, dataset_options={"size": 8}).data_set == "digits"
    mine = replace(WORKLOAD, dataset="my_lab:Set", dataset_options={"b": 1, "a": 2})
    assert mine.data_set == 'my_lab:Set {"a":2,"b":1}'
    assert COMMAND.data_set == "u"  # nobody knows what it reads


def test_a_trial_hands_out_its_workload_as_the_kind_that_it_is():
    assert _trial().images is WORKLOAD
    assert _trial(COMMAND).user_workload is COMMAND
    with pytest.raises(AssertionError):
        _ = _trial(COMMAND).images
    with pytest.raises(AssertionError):
        _ = _trial().user_workload
