"""Trials that are given up: nobody waits for them, and the arm that lost them cannot win."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.contract.layout import Layout
from orchestrator.backends.records import BackendError
from orchestrator.results import given_up
from orchestrator.results.conclude import StudyResults
from orchestrator.study.study import open_study

# A made-up training: the lr is the score, plus what the seed says. Some trials fail, every time.
TRAIN = """\
import os
import signal
import zlib
from pathlib import Path

def score(trial, context):
    if Path("HERE", f"{trial.candidate.name}-{trial.block}").exists():
        raise RuntimeError("it does not fit")
    if Path("HERE", f"kill-{trial.candidate.name}-{trial.block}").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    noise = zlib.crc32(f"{context.seed('init')} {trial.candidate.name}".encode()) / 1e12
    for step in range(8):
        context.log(step, score=trial.candidate.hyperparameters["lr"] * step / 7 + noise * step)
"""
SWEEP = """\
study: lossy
workloads: [{name: mine, train: "scores:score", metric: score, unit: fraction}]
candidates:
  base: {optimizer: sgd, lr: 0.1}
  fast: {optimizer: sgd, lr: 0.4}
  same: {optimizer: sgd, lr: 0.15}
baseline: base
seeds: 7
"""

Failing = Callable[..., Path]


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Write the sweep, with parts of it replaced, whose trials `CANDIDATE-BLOCK` fail."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scores.py").write_text(TRAIN.replace("HERE", str(tmp_path)))

    def write(*trials: str, **changes: str) -> Path:
        for name in trials:
            (tmp_path / name).touch()
        text = SWEEP
        for old, new in changes.items():
            text = text.replace(f"{old}: 7", f"{old}: {new}")
        path = tmp_path / "lossy.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "studies", "lossy")


def compared(thermolion, study="lossy"):
    said = thermolion("compare", study, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    words = {
        one["question"]["candidate"]: (one["verdict"], one["estimate"]["n"], one["flags"])
        for one in found["pooled"]
        if one["endpoint"] == "final_test_accuracy"
    }
    ready = {one["question"]["candidate"]: one for one in found["readiness"]}
    return found, words, ready


def test_an_arm_that_lost_trials_to_an_exception_is_not_called_better(thermolion, failing):
    assert thermolion("run", failing("fast-2", "fast-5")).code != 0
    _, words, ready = compared(thermolion)
    assert words["fast"][:2] == ("undecided", 5)
    assert "lost candidate" in words["fast"][2]
    assert words["same"][:2] == ("better", 7)
    assert "lost candidate" not in words["same"][2]
    assert (ready["fast"]["arrived"], ready["fast"]["planned"]) == (14, 14)


def test_a_trial_with_a_retry_left_is_waited_for(thermolion, failing):
    sweep = failing("fast-2")
    with sweep.open("a") as file:
        file.write("failures: {user_error: {retries: 1}}\n")
    thermolion("run", sweep)
    found, words, ready = compared(thermolion)
    assert words["fast"][:2] == (None, 6)
    assert words["same"][0] == "better"
    assert (ready["fast"]["arrived"], ready["fast"]["planned"]) == (13, 14)
    (open_row,) = [
        one
        for one in found["by_workload"]
        if one["question"]["candidate"] == "fast" and one["endpoint"] == "final_test_accuracy"
    ]
    assert open_row["p_adjusted"] is open_row["estimate"]["low"] is None
    thermolion("run", sweep)
    _, words, ready = compared(thermolion)
    assert words["fast"][:2] == ("undecided", 6)
    assert ready["fast"]["arrived"] == 14


@pytest.mark.parametrize(("retries", "word"), [(0, "better"), (1, "undecided")])
def test_an_arm_whose_process_dies_at_every_retry_is_not_called_better(
    thermolion, failing, retries, word
):
    sweep = failing("kill-fast-2")
    with sweep.open("a") as file:
        file.write(f"failures: {{lost: {{retries: {retries}}}}}\n")
    for _ in range(2):  # what its process had still to run is sent again in any case
        thermolion("run", sweep)
    _, words, _ = compared(thermolion)
    assert words["fast"][:2] == (word, 6)
    # A single loss is the machine's.
    assert ("lost candidate" in words["fast"][2]) == (retries > 0)
    assert words["same"][:2] == ("better", 7)


def test_without_an_answer_of_the_backend_classes_that_are_never_tried_again_count(
    thermolion, failing, layout, monkeypatch
):
    thermolion("run", failing("fast-2"))

    def refuse(_):
        raise BackendError("squeue does not answer")

    monkeypatch.setattr(given_up, "read_status", refuse)
    study = open_study("lossy", layout.folder.parent)
    found = StudyResults.read(study).compare()
    assert not found.any_open
    assert set(given_up.find_given_up(study, StudyResults.read(study).outcomes).values()) == {
        "USER_ERROR"
    }


def test_a_look_is_decided_without_what_is_given_up(thermolion, failing, layout):
    thermolion("run", failing("same-4", seeds="{looks: [6, 8]}"))
    made = json.loads((layout.decisions / "look-1.json").read_text())
    assert made["open"] == [["same", "base"]]
    _, words, _ = compared(thermolion)
    assert words["fast"][:2] == ("better", 6)
    assert (words["same"][0], "lost candidate" in words["same"][2]) == ("undecided", True)


def test_a_look_waits_for_a_candidate_none_of_whose_trials_has_a_result(
    thermolion, failing, layout
):
    trials = [f"same-{block}" for block in range(6)]
    thermolion("run", failing(*trials, seeds="{looks: [6, 8]}"))
    assert not (layout.decisions / "look-1.json").exists()
    found, words, _ = compared(thermolion)
    assert {word for word, *_ in words.values()} == {None}
    assert found["ledger"] == []


def test_seeds_that_were_added_are_explored_once_all_of_them_are_in(thermolion, failing):
    thermolion("run", failing())
    sweep = failing("fast-8", seeds="9")
    with sweep.open("a") as file:
        file.write("failures: {user_error: {retries: 1}}\n")
    thermolion("run", sweep)
    found, words, _ = compared(thermolion)
    assert words["fast"][:2] == ("better", 7)
    later = {
        one["question"]["candidate"]: (one["verdict"], one["estimate"]["p"], one["estimate"]["n"])
        for one in found["later"]
        if one["endpoint"] == "final_test_accuracy"
    }
    assert later["fast"] == (None, None, 8)
    assert later["same"][0] == "better"
