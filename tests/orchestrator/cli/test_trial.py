"""One trial under the hand: what is known of it, and itself in this terminal."""

import json
import os
import signal

import pytest

from tracking.outcomes import read_outcomes

LAB = """\
import torch

class Broken(torch.optim.SGD):
    def step(self, closure=None):
        raise RuntimeError("no such luck")
"""


@pytest.fixture
def planned(thermolion, small):
    """Return the ids that the sweep `small` plans, by candidate, of block 0."""
    trials = json.loads(thermolion("plan", small, "--json").out)["trials"]
    return {t["labels"]["candidate"]: t["id"] for t in trials if t["block"] == 0}


def test_all_that_is_known_of_a_trial(thermolion, small, layout, planned):
    assert "waiting" in thermolion("trial", planned["adamw"], "--study", small).out
    assert thermolion("run", small).code == 0
    trial = planned["adamw"]
    said = thermolion("trial", trial[:7])
    assert said.code == 0, said.err
    log = next(o for o in read_outcomes(layout.events).values() if o.trial.id == trial)
    for words in (
        f"{trial} of study small",
        "completed",
        "lr': 0.01",
        f"noise {log.trial.seeds['noise']}",
        f"code {log.job['code']}",
        str(layout.events / log.attempt_log[0].log),
        str(layout.job_output("0001", log.job["pack"])),
        "checkpoint none",
        "test_accuracy",
    ):
        assert words in said.out
    record = json.loads(thermolion("trial", trial, "--json").out)
    assert record["config"] == log.trial.to_json()
    assert [attempt["end"] for attempt in record["attempts"]] == ["completed"]
    assert record["curve"]["points"] == len(log.curve)
    assert record["code"] == log.job["code"]
    assert json.loads(thermolion("status", "small", trial, "--json").out) == record


def test_a_trial_is_found_by_how_its_id_begins_or_the_choice_is_told(thermolion, small, planned):
    thermolion("submit", small)
    thermolion("cancel", "small")
    copy = small.with_name("copy.yaml")
    copy.write_text(small.read_text().replace("study: small", "study: copy"))
    thermolion("submit", copy)
    thermolion("cancel", "copy")
    trial = planned["adamw"]
    both = thermolion("trial", trial)
    assert both.code == 2
    for words in (f"{trial} of copy", f"{trial} of small", "--study STUDY"):
        assert words in both.err
    assert thermolion("trial", trial, "--study", "copy").code == 0
    unknown = thermolion("trial", "zzzz")
    assert unknown.code == 2
    assert "'zzzz' is no trial" in unknown.err


def test_a_trial_here_leaves_no_trace_and_has_the_same_bits(thermolion, small, layout, planned):
    assert thermolion("run", small).code == 0
    before = {p: p.read_bytes() for p in layout.root.rglob("*") if p.is_file()}
    said = thermolion("trial", planned["thermolion"], "--here")
    assert said.code == 0, said.err
    assert "step 0 " in said.err
    assert "val_accuracy" in said.err
    assert "completed" in said.out
    assert "nothing was recorded" in said.out
    assert {p: p.read_bytes() for p in layout.root.rglob("*") if p.is_file()} == before
    outcome = read_outcomes(layout.events)[planned["thermolion"]]
    assert f"test_accuracy {outcome.metrics['test_accuracy']:.6g}" in said.out


def test_a_trial_here_may_be_changed_and_ended_early(thermolion, small, layout, planned):
    trial = planned["adamw"]
    said = thermolion("trial", trial, "--study", small, "--here", "--steps", 8)
    assert said.code == 0, said.err
    assert "interrupted" in said.out
    assert "step 8 " in said.err
    assert "step 16 " not in said.err
    changed = ["--set", "workloads.0.epochs=1", "--set", "candidates.adamw.lr=0.1"]
    short = thermolion("trial", trial, "--study", small, "--here", *changed)
    assert short.code == 0, short.err
    assert "completed" in short.out
    assert "step 8 " in short.err
    assert "step 9 " not in short.err
    gone = thermolion("trial", trial, "--study", small, "--here", "--set", "seeds=[7]")
    assert gone.code == 2
    assert "no trial 'digits / adamw / 0'" in gone.err
    assert not layout.folder.exists()


def test_a_trial_that_raises_here_shows_where_and_leads_into_the_debugger(
    thermolion, small, tmp_path, monkeypatch
):
    (tmp_path / "lab_under_the_hand.py").write_text(LAB)
    monkeypatch.chdir(tmp_path)
    small.write_text(
        small.read_text().replace(
            "thermolion: {}", "mine: {optimizer: 'lab_under_the_hand:Broken', lr: 0.1}"
        )
    )
    trials = json.loads(thermolion("plan", small, "--json").out)["trials"]
    trial = next(t["id"] for t in trials if t["labels"]["candidate"] == "mine")
    said = thermolion("trial", trial, "--study", small, "--here")
    assert said.code == 1
    assert "lab_under_the_hand.py" in said.err
    assert "failed (RuntimeError: no such luck)" in said.out
    entered = []
    monkeypatch.setattr("pdb.post_mortem", entered.append)
    said = thermolion("trial", trial, "--study", small, "--here", "--pdb")
    assert said.code == 1
    (traceback,) = entered
    while traceback.tb_next:
        traceback = traceback.tb_next
    assert traceback.tb_frame.f_code.co_name == "step"


def test_ctrl_c_ends_a_trial_here(thermolion, small, layout, planned, monkeypatch):
    def told(step, _):
        if step:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("orchestrator.cli.trial._print_progress", told)
    handler = signal.getsignal(signal.SIGINT)
    said = thermolion("trial", planned["adamw"], "--study", small, "--here")
    assert said.code == 130
    assert "interrupted" in said.out
    assert not layout.folder.exists()
    assert signal.getsignal(signal.SIGINT) is handler


def test_options_of_a_trial_here_need_it(thermolion, small, planned):
    said = thermolion("trial", planned["adamw"], "--study", small, "--pdb")
    assert said.code == 2
    assert "add --here" in said.err
