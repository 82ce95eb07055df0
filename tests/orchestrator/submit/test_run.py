"""A study from sweep file to verdict on this machine: real processes, real training."""

import io
import json
import sys

import pytest
from processes import event_logs, start

from jobs.contract.lock import Lock
from orchestrator.backends.records import read_submissions
from orchestrator.cli.main import main
from tracking.outcomes import read_outcomes


@pytest.mark.usefixtures("as_for_everybody")
def test_run_answers_and_a_second_run_changes_nothing(thermolion, small, layout):
    first = thermolion("run", small)
    assert first.code == 0, first.err
    assert "4 of 4 trials done" in first.err
    assert "thermolion vs adamw" in first.out
    assert str(layout.report / "report.html") in first.out
    assert str(layout.mlflow_store) in first.out
    assert f"thermolion ui {small}" in first.out
    assert layout.mlflow_store.exists()
    before = event_logs(layout)
    page = (layout.report / "report.html").read_bytes()

    second = thermolion("run", small)
    assert second.code == 0
    assert "everything is done: 4 of 4 trials" in second.err
    assert second.out == first.out
    assert event_logs(layout) == before
    assert (layout.report / "report.html").read_bytes() == page
    assert len(read_submissions(layout)) == 1

    assert "4 completed" in thermolion("status", "small").out
    assert "nothing left to do" in thermolion("plan", "small").out
    assert "nothing to send: 4 of 4" in thermolion("submit", small).out
    assert json.loads(thermolion("compare", "small", "--json").out)["study"] == "small"
    assert thermolion("report", "small").out.strip() == str(layout.report / "report.html")

    left = layout.checkpoint(next(iter(read_outcomes(layout.events))))
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"of a lane that was killed when its trial had just ended")
    assert "nothing to send: 4 of 4" in thermolion("submit", small).out
    assert not left.exists()


def test_more_seeds_run_only_what_is_missing(thermolion, small, layout):
    assert thermolion("run", small).code == 0
    assert thermolion("run", small, "--set", "seeds=3").code == 0
    outcomes = read_outcomes(layout.events)
    assert len(outcomes) == 6
    assert {outcome.attempts for outcome in outcomes.values()} == {1}
    assert "6 completed" in thermolion("status", "small").out
    assert "2 recorded trials are not in this sweep" in thermolion("status", small).out


def test_an_aa_study_differs_nowhere(thermolion, tmp_path):
    sweep = tmp_path / "aa.yaml"
    sweep.write_text(
        "study: aa\n"
        "workloads: [{dataset: digits, model: convnet, epochs: 1}]\n"
        "candidates:\n"
        "  a: {optimizer: thermolion, noise: false, replica: 0}\n"
        "  b: {optimizer: thermolion, noise: false, replica: 1}\n"
        "baseline: a\n"
        "seeds: 3\n"
    )
    said = thermolion("run", sweep)
    assert said.code == 0, said.err
    outcomes = read_outcomes(tmp_path / "studies/aa/events")
    assert len(outcomes) == 6
    assert {outcome.attempts for outcome in outcomes.values()} == {1}
    by_block: dict[int, list] = {}
    for outcome in outcomes.values():
        by_block.setdefault(outcome.trial.block, []).append(outcome)
    for first, second in by_block.values():
        assert first.weights == second.weights
        assert first.metrics == second.metrics
        assert [p.metrics for p in first.curve] == [p.metrics for p in second.curve]
    assert "identical" in said.out


def test_the_recorded_sweep_follows_an_edit_that_needs_no_training(thermolion, small):
    assert thermolion("run", small).code == 0
    turned = small.with_name("turned.yaml")
    turned.write_text(small.read_text().replace("baseline: adamw", "baseline: thermolion"))
    assert "adamw vs thermolion" in thermolion("run", turned).out
    assert "adamw vs thermolion" in thermolion("compare", "small").out


def test_a_sweep_recorded_with_overrides_reads_back_as_the_same_trials(thermolion, tmp_path):
    sweep = tmp_path / "odd.yaml"
    sweep.write_text(
        "study: odd\n"
        "workloads: [{name: '089', dataset: digits, model: mlp, epochs: 1}]\n"
        "candidates: {'1e-3': {optimizer: adamw}, 'true': {optimizer: adam, lr: 1e-5}}\n"
        "seeds: 3\n"
    )
    few = ["--set", "seeds=1", "--set", "candidates.more={optimizer: sgd,\n lr: 1e-3}"]
    assert thermolion("submit", sweep, *few).code == 0
    thermolion("cancel", "odd")
    meant, recorded = (
        {trial["id"] for trial in json.loads(thermolion("plan", *of, "--json").out)["trials"]}
        for of in ((sweep, *few), ("odd",))
    )
    assert len(meant) == 3
    assert recorded == meant


def test_two_runs_at_once_both_end_well(small, layout):
    runs = [start("run", small, root=layout.root) for _ in range(2)]
    for run in runs:
        out, err = run.communicate(timeout=200)
        assert run.returncode == 0, err
        assert "thermolion vs adamw" in out
    assert len(read_submissions(layout)) == 1


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"id": "0001"}'])
def test_a_damaged_record_is_named(thermolion, small, layout, text):
    thermolion("submit", small)
    thermolion("cancel", "small")
    record = layout.submission("0001") / "submission.json"
    record.write_text(text)
    said = thermolion("status", "small")
    assert said.code == 1
    assert str(record) in said.err


def test_a_root_that_cannot_be_written_is_one_line(thermolion, small):
    said = thermolion("run", small, "--root", "/dev/null")
    assert said.code == 1
    assert len(said.err.strip().splitlines()) == 1
    assert "/dev/null" in said.err


@pytest.mark.usefixtures("as_for_everybody")
def test_a_failing_candidate_leaves_the_others_alone(thermolion, small, tmp_path, monkeypatch):
    (tmp_path / "my_lab.py").write_text(
        "import torch\n"
        "class Broken(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n"
        "        raise RuntimeError('no such luck')\n"
    )
    for shadow in ("jobs", "tracking", "orchestrator"):
        (tmp_path / shadow).mkdir()
        (tmp_path / shadow / "__init__.py").write_text("raise ImportError('shadowed')\n")
    monkeypatch.chdir(tmp_path)
    said = thermolion(
        "run", small, "--set", "candidates.mine={optimizer: 'my_lab:Broken', lr: 0.1}"
    )
    assert said.code == 1
    assert "RuntimeError: no such luck" in said.err
    assert "trials without a result: 2" in said.err
    status = thermolion("status", "small").out
    assert "4 completed" in status
    assert "2 failed" in status
    failed = next(line.split()[0] for line in status.splitlines() if " failed " in line)
    assert "no such luck" in thermolion("logs", "small", failed).out


def test_a_study_is_locked_while_another_submits(thermolion, small, layout):
    layout.folder.mkdir(parents=True)
    with Lock(layout.lock):
        said = thermolion("submit", small)
    assert said.code == 1
    assert "--break-lock" in said.err
    assert not layout.submissions.exists()


def test_a_terminal_that_is_not_utf_8_loses_nothing(thermolion, small, layout, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), "latin-1")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", terminal)
        assert main(["run", str(small)]) == 0
    assert rb"\u0394" in terminal.buffer.getvalue()  # the Δ of the table
    assert (layout.report / "report.html").is_file()
    assert layout.mlflow_store.is_file()
    assert "4 completed" in thermolion("status", "small").out
