"""Looks that are ended with trials missing: on request alone, on record, and for good."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import wait_for

from jobs.contract.layout import Layout
from orchestrator.progress.status import read_status
from orchestrator.study.study import open_study

# The lr is the score, plus what the seed says. Some trials wait for a file, or end as it says.
TRAIN = """\
import time, zlib
from pathlib import Path

def score(trial, context):
    mine = Path("FOLDER") / f"{trial.candidate.name}-{trial.block}"
    while mine.exists() and not context.should_stop():
        time.sleep(0.02)
    if mine.exists():
        return context.save({})
    noise = zlib.crc32(f"{context.seed('init')} {trial.candidate.name}".encode()) / 1e12
    for step in range(1, 8):
        context.log(step, score=trial.candidate.hyperparameters["lr"] * step / 7 + noise * step)
"""
SWEEP = """\
study: closed
workloads: [{name: mine, train: "waits:score", metric: score, unit: fraction}]
candidates:
  base: {optimizer: sgd, lr: 0.1}
  fast: {optimizer: sgd, lr: 0.4}
baseline: base
seeds: SEEDS
"""


@pytest.fixture
def halted(
    thermolion: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Layout]:
    """Run a study until the named trials alone have no result, and cancel it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "waits.py").write_text(TRAIN.replace("FOLDER", str(tmp_path)))

    def halt(seeds: str, results: int, *waiting: str, fast: str = "0.4") -> Layout:
        text = SWEEP.replace("SEEDS", seeds).replace("0.4", fast)
        (tmp_path / "closed.yaml").write_text(text)
        for name in waiting:
            (tmp_path / name).touch()
        said = thermolion("submit", tmp_path / "closed.yaml", "--lanes", results + len(waiting))
        assert said.code == 0, said.err
        study = open_study("closed", tmp_path / "studies")
        wait_for(lambda: read_status(study).done == results)
        if waiting:
            refused = thermolion("compare", "closed", "--close-look")
            assert refused.code == 2
            assert "with living jobs" in refused.err
            assert "thermolion cancel closed" in refused.err
            assert thermolion("cancel", "closed").code == 0
        wait_for(lambda: read_status(study).jobs_alive == 0)
        return study.layout

    return halt


def test_a_comparison_that_is_closed_answers_from_what_is_there_and_from_nothing_later(
    thermolion, halted, tmp_path
):
    layout = halted("6", 10, "fast-5", "base-5")
    said = thermolion("compare", "closed", "--json")
    assert {one["verdict"] for one in json.loads(said.out)["pooled"]} == {None}
    said = thermolion("compare", "closed", "--close-look", "--json")
    assert said.code == 0, said.err
    assert "2 of 12 trials are missing" in said.err
    found = json.loads(said.out)
    assert {one["verdict"] for one in found["pooled"]} == {"better"}
    assert {one["estimate"]["n"] for one in found["pooled"]} == {5}
    assert all(one["closed"] for one in found["readiness"])
    record = json.loads((layout.decisions / "closed-look-1.json").read_text())
    missing = {(one["candidate"], one["block"]) for one in record["missing"]}
    assert missing == {("fast", 5), ("base", 5)}
    assert len(record["inputs"]) == 64
    for name in ("fast-5", "base-5"):
        (tmp_path / name).unlink()
    assert "nothing to send" in thermolion("submit", "closed").out
    shown = thermolion("compare", "closed").out
    assert "closed by hand (--close-look)" in shown
    again = thermolion("compare", "closed", "--close-look")
    assert (again.code, "was closed before" in again.err) == (2, True)


def test_a_look_that_is_closed_is_decided_and_what_it_missed_is_never_sent(thermolion, halted):
    layout = halted("{looks: [6, 9]}", 11, "fast-5")
    assert not (layout.decisions / "look-1.json").exists()
    said = thermolion("compare", "closed", "--close-look", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert {one["verdict"] for one in found["pooled"]} == {"better"}
    assert [(one["look"], one["closed"]) for one in found["ledger"]] == [(1, True)] * 2
    look = json.loads((layout.decisions / "look-1.json").read_text())
    assert (look["look"], look["go_on"]) == (1, [])
    assert "closed by hand (--close-look)" in thermolion("compare", "closed").out
    refused = thermolion("compare", "closed", "--close-look")
    assert (refused.code, "all are decided" in refused.err) == (2, True)


def test_the_same_request_again_does_not_close_the_next_look_of_which_nothing_has_come(
    thermolion, halted
):
    layout = halted("{looks: [6, 9]}", 11, "fast-5", fast="0.101")
    assert thermolion("compare", "closed", "--close-look", "--json").code == 0
    assert json.loads((layout.decisions / "look-1.json").read_text())["go_on"]
    again = thermolion("compare", "closed", "--close-look")
    assert again.code == 2
    assert "none of the 6 trials that look 2 adds has a result" in again.err
    assert "thermolion submit closed" in again.err
    assert not (layout.decisions / "closed-look-2.json").exists()


def test_a_look_that_misses_nothing_or_has_nothing_is_not_closed(thermolion, halted, tmp_path):
    layout = halted("5", 10)
    refused = thermolion("compare", "closed", "--close-look")
    assert refused.code == 2
    assert "nothing is missing: 10 of 10 trials" in refused.err
    two = thermolion("compare", "closed", "closed", "--close-look")
    assert (two.code, "name that study alone" in two.err) == (2, True)
    path = tmp_path / "closed.yaml"
    path.write_text(path.read_text().replace("study: closed", "study: fresh"))
    refused = thermolion("compare", path, "--close-look")
    assert (refused.code, "is frozen yet" in refused.err) == (2, True)
    assert not list(layout.decisions.glob("closed-*"))
