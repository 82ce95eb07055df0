"""How trials and studies look in MLflow, as data: no store takes part."""

import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tracking.logs import Point
from tracking.mlflow_store.parents import shorten_note, study_record
from tracking.mlflow_store.record import (
    MAX_PARAM,
    MAX_TAG,
    NOTE_TAG,
    Commit,
    keys,
    mlflow_key,
    parts,
    spell,
    trial_record,
)
from tracking.outcomes import Outcome

Make = Callable[..., Outcome]
_VALID = re.compile(r"^[/\w.\- :]+$")


@pytest.fixture
def begun(outcome: Make) -> Make:
    """Outcomes with the times that logs give them."""

    def make(*given: Any, **named: Any) -> Outcome:
        made = outcome(*given, **named)
        if made.state == "waiting":
            return made
        ended = None if made.state == "running" else 9_000 + made.trial.block
        return replace(made, started_ms=1_000 + made.trial.block, ended_ms=ended)

    return make


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adamw[lr=0.001]", "adamw lr:0.001"),
        ("adamw[lr=0.001,betas=(0.9, 0.99)]", "adamw lr:0.001 betas:_0.9 0.99_"),
        ("../../etc", "etc"),
        ("a//b/", "a/b"),
        ("été", "été"),
        ("", "unnamed"),
        (".", "unnamed"),
        ("line\nbreak", "line_break"),
    ],
)
def test_a_key_is_readable_and_what_mlflow_takes(name: str, expected: str) -> None:
    assert mlflow_key(name) == expected
    assert _VALID.match(expected)


def test_names_that_look_alike_get_keys_of_their_own() -> None:
    assert len(set(keys(["a[b", "a b", "a"]).values())) == 3
    assert keys(["a[b"]) == {"a[b": "a b"}
    assert len(set(parts(["a/b", "a_b"]).values())) == 2


def test_long_names_stay_apart_and_below_the_limit() -> None:
    named = keys(["x" * 999, "x" * 998])
    assert len(set(named.values())) == 2
    assert max(map(len, named.values())) <= 100


def test_a_value_is_spelled_so_that_it_reads_back_and_is_cut_at_the_limit() -> None:
    assert spell(0.0003, MAX_PARAM) == "0.0003"
    assert spell("adamw", MAX_PARAM) == "adamw"
    assert spell([0.9, 0.99], MAX_PARAM) == "[0.9, 0.99]"
    assert spell(True, MAX_PARAM) == "true"
    assert len(spell("x" * 10_000, MAX_PARAM)) == MAX_PARAM


def test_a_trial_has_a_name_that_a_person_can_read(begun: Make) -> None:
    assert trial_record(begun("adamw[lr=0.001]", block=3), "s").name == (
        "digits · adamw[lr=0.001] · block 3"
    )


def test_params_are_what_was_asked_and_tags_what_came_of_it(begun: Make) -> None:
    record = trial_record(begun("adamw", block=3), "my study")
    assert record.params["optimizer"] == "adamw"
    assert record.params["lr"] == "0.001"
    assert record.params["epochs"] == "10"
    assert record.params["seed.split"].isdigit()
    assert record.tags["thermolion.study"] == "my study"
    assert record.tags["thermolion.block"] == "3"
    assert record.tags["thermolion.state"] == "completed"
    assert record.tags["thermolion.host"] == "node1"
    assert record.tags["mlflow.runName"] == record.name
    for name in (*record.params, *record.tags):
        assert _VALID.match(name)


def test_the_commit_of_the_users_code_is_the_source_of_a_run(begun: Make) -> None:
    made = begun()
    tags = trial_record(made, "s", Commit("0a1b", dirty=True)).tags
    assert (tags["mlflow.source.git.commit"], tags["mlflow.source.git.dirty"]) == ("0a1b", "true")
    assert not any("git" in name for name in trial_record(made, "s").tags)


def test_a_hyperparameter_that_is_named_as_something_else_keeps_its_value(begun: Make) -> None:
    made = begun()
    candidate = replace(made.trial.candidate, hyperparameters={"epochs": 3, "x[0]=": 1})
    record = trial_record(replace(made, trial=replace(made.trial, candidate=candidate)), "s")
    assert record.params["epochs"] == "10"
    assert record.params["hyperparameter.epochs"] == "3"
    assert record.params["x 0:"] == "1"


def test_final_metrics_stand_at_the_last_step_and_never_double_a_point(begun: Make) -> None:
    made = begun(metrics={"test_accuracy": 0.9, "val_accuracy": 0.8})
    points = {(one.key, one.step): one.value for one in trial_record(made, "s").metrics}
    assert points["test_accuracy", 40] == 0.9
    assert points["final_val_accuracy", 40] == 0.8
    assert points["final_train_seconds", 40] == 10.0
    assert len(points) == len(trial_record(made, "s").metrics)


def test_an_infinity_becomes_the_largest_float_and_a_tag_while_nan_stays(begun: Make) -> None:
    worst = {"train_loss": math.inf, "val_loss": -math.inf, "val_accuracy": math.nan}
    made = begun(state="diverged", curve=[])
    made = replace(made, curve=(Point(7, 1.0, 70, 0.5, 2_000, worst),), metrics={})
    record = trial_record(made, "s")
    values = {one.key: one.value for one in record.metrics}
    assert values["train_loss"] == sys.float_info.max
    assert values["val_loss"] == -sys.float_info.max
    assert math.isnan(values["val_accuracy"])
    assert record.tags["thermolion.infinite"] == "train_loss, val_loss"
    assert record.tags["thermolion.state"] == "diverged"
    assert record.status == "FINISHED"


@pytest.mark.parametrize(
    ("state", "status"),
    [("running", "RUNNING"), ("interrupted", "KILLED"), ("failed", "FAILED")],
)
def test_the_state_of_a_trial_becomes_the_status_of_its_run(
    begun: Make, state: str, status: str
) -> None:
    assert trial_record(begun(state=state), "s").status == status


def test_a_failure_is_on_the_page_of_the_run_with_the_end_of_its_traceback(begun: Make) -> None:
    made = begun(state="failed", error="no CUDA", traceback="x" * 20_000 + "last line")
    note = trial_record(made, "s").tags[NOTE_TAG]
    assert note.startswith("**failed**: no CUDA")
    assert "last line" in note
    assert len(note) <= MAX_TAG


def test_a_trial_that_waits_has_no_run(begun: Make) -> None:
    with pytest.raises(ValueError, match="waiting"):
        trial_record(begun(state="waiting"), "s")


def test_the_fingerprint_changes_with_the_content_alone(begun: Make) -> None:
    made = begun()
    same, other = trial_record(begun(), "s"), trial_record(begun(accuracy=0.8), "s")
    assert trial_record(made, "s").fingerprint == same.fingerprint != other.fingerprint
    nan = [trial_record(begun(curve=[(0, math.nan)]), "s").fingerprint for _ in range(2)]
    assert nan[0] == nan[1]


def test_the_parent_counts_states_and_averages_over_the_blocks(begun: Make) -> None:
    outcomes = [begun("adamw[lr=0.1]", block=block, accuracy=0.8 + block / 10) for block in (0, 1)]
    outcomes.append(begun("lion", state="failed"))
    record = study_record(outcomes, "s", "# Report")
    accuracy = [one for one in record.metrics if one.key.startswith("final_test_accuracy")]
    assert [(one.key, one.step) for one in accuracy] == [
        ("final_test_accuracy/digits/adamw lr:0.1", 1),
        ("final_test_accuracy/digits/adamw lr:0.1", 2),
    ]
    assert accuracy[-1].value == pytest.approx(0.85)
    assert record.tags["thermolion.trials"] == "2 completed, 1 failed"
    assert record.tags[NOTE_TAG] == "# Report"
    assert record.status == "FAILED"
    assert (record.start_ms, record.end_ms) == (1_000, 9_001)


def test_means_never_change_as_later_results_arrive_in_any_order(begun: Make) -> None:
    final = [begun(block=block, accuracy=0.5 + block / 10) for block in range(4)]
    whole = set(study_record(final, "s", None).metrics)
    for missing in range(4):
        partly = [begun(block=b, state="running") if b == missing else final[b] for b in range(4)]
        record = study_record(partly, "s", None)
        assert set(record.metrics) < whole
        assert (record.status, record.end_ms) == ("RUNNING", None)


def test_a_diverged_trial_counts_as_chance_and_tuning_not_at_all(begun: Make) -> None:
    diverged = begun(state="diverged", metrics={})
    tuning = replace(diverged, trial=replace(diverged.trial, phase="tune"))
    record = study_record([diverged, tuning], "s", None)
    accuracy = [one.value for one in record.metrics if one.key.startswith("final_test_accuracy")]
    assert accuracy == [pytest.approx(0.1)]


def test_a_long_note_is_cut_at_a_line_and_says_where_the_rest_is() -> None:
    note = shorten_note("a line\n" * 5000, MAX_TAG)
    assert len(note) <= MAX_TAG
    assert "a line\n\n\n*Cut here" in note
    assert len(shorten_note("x" * 9000, MAX_TAG)) <= MAX_TAG


def test_records_are_made_without_mlflow() -> None:
    loaded = "print('mlflow' in sys.modules, 'torch' in sys.modules)"
    code = f"import sys, tracking.mlflow_store.collect; {loaded}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
