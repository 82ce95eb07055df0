"""A study from sweep file to verdict on this machine: real processes, real training."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.layout import Layout
from jobs.lock import Lock
from orchestrator.backends.base import read_submissions
from tracking.outcomes import read_outcomes


@pytest.fixture
def layout(tmp_path) -> Layout:
    return Layout(tmp_path / "studies", "small")


def _events(layout: Layout) -> dict[str, bytes]:
    return {log.name: log.read_bytes() for log in layout.events.glob("*")}


def _process(*arguments: object, root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "orchestrator.cli", *map(str, arguments)],
        env=os.environ | {"THERMOLION_ROOT": str(root)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def _workers(layout: Layout, module: str = "jobs.lane") -> list[int]:
    """The pids of living lanes (or pools) of a study."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text()
        except OSError:
            continue
        if module in command and str(layout.folder) in command:
            found.append(int(process.name))
    return found


def _workers_of(layout: Layout, submission: str) -> list[int]:
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in _workers(layout)}
    return [pid for pid, command in commands.items() if f"/{submission}/" in command]


def test_run_answers_and_a_second_run_changes_nothing(thermolion, small, layout):
    first = thermolion("run", small)
    assert first.code == 0, first.err
    assert "4 of 4 trials done" in first.err
    assert "thermolion vs adamw" in first.out
    assert str(layout.report / "report.html") in first.out
    assert str(layout.mlflow_store) in first.out
    assert layout.mlflow_store.exists()
    before = _events(layout)
    page = (layout.report / "report.html").read_bytes()

    second = thermolion("run", small)
    assert second.code == 0
    assert "everything is done: 4 of 4 trials" in second.err
    assert second.out == first.out
    assert _events(layout) == before
    assert (layout.report / "report.html").read_bytes() == page
    assert len(read_submissions(layout)) == 1

    assert "4 completed" in thermolion("status", "small").out
    assert "nothing left to do" in thermolion("plan", "small").out
    assert "nothing to send: 4 of 4" in thermolion("submit", small).out
    assert json.loads(thermolion("compare", "small", "--json").out)["study"] == "small"
    assert thermolion("report", "small").out.strip() == str(layout.report / "report.html")


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


def test_ctrl_c_stops_cleanly_and_run_takes_it_up_again(thermolion, small, layout):
    longer = ["--set", "workloads.0.epochs=400", "--set", "seeds=1"]
    run = _process("run", small, *longer, root=layout.root)
    _wait_for(lambda: any(b'"evaluated"' in log for log in _events(layout).values()))
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "take it up again" in err
    assert "Traceback" not in err
    assert not _workers(layout)
    states = {outcome.state for outcome in read_outcomes(layout.events).values()}
    assert "running" not in states
    assert "interrupted" in states

    again = thermolion("run", small, *longer, "--set", "workloads.0.epochs=400")
    assert again.code == 0, again.err
    outcomes = read_outcomes(layout.events).values()
    assert {outcome.state for outcome in outcomes} == {"completed"}
    assert not any(outcome.nondeterministic for outcome in outcomes)


def test_ctrl_c_while_jobs_are_being_started_leaves_nothing_running(small, layout):
    run = _process("run", small, "--set", "workloads.0.epochs=2000", root=layout.root)
    _wait_for(layout.submission("0001").exists)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "stopped" in err
    assert "Traceback" not in err
    _wait_for(lambda: not _workers(layout) and not _workers(layout, "backends.pool"), 20)


def test_submit_returns_and_a_second_submit_sends_nothing_twice(thermolion, small, layout):
    longer = ["--set", "workloads.0.epochs=100"]
    assert "4 trials in" in thermolion("submit", small, *longer).out
    assert "0 of 4 trials are done, 4 under way" in thermolion("submit", small, *longer).out
    assert "queued" in thermolion("status", "small").out
    assert "1 submissions stopped" in thermolion("cancel", "small").out
    assert not _workers(layout)
    assert "no job of this study is alive" in thermolion("cancel", "small").out


def test_a_killed_lane_is_lost_and_sent_again(thermolion, small, layout):
    longer = ["--set", "workloads.0.epochs=400", "--set", "seeds=1", "--lanes", 1]
    thermolion("submit", small, *longer)
    _wait_for(lambda: any(b'"evaluated"' in log for log in _events(layout).values()))
    for worker in _workers(layout):
        os.kill(worker, signal.SIGKILL)
    _wait_for(lambda: "lost" in thermolion("status", "small").out)
    again = thermolion("run", small, *longer)
    assert again.code == 0, again.err
    assert len(read_submissions(layout)) == 2
    assert {o.state for o in read_outcomes(layout.events).values()} == {"completed"}


def test_a_trial_that_kills_its_process_starves_no_neighbour(
    thermolion, small, tmp_path, monkeypatch
):
    (tmp_path / "my_hard_lab.py").write_text(
        "import os, torch\n"
        "class Hard(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n"
        "        os._exit(9)\n"
    )
    monkeypatch.chdir(tmp_path)
    hard = ["--set", "candidates.hard={optimizer: 'my_hard_lab:Hard', lr: 0.1}", "--lanes", 1]
    first = thermolion("run", small, *hard)
    assert first.code == 1
    assert "exit code 9" in thermolion("logs", "small").out
    assert thermolion("run", small, *hard).code == 1
    status = thermolion("status", "small").out
    assert "4 completed, 2 lost" in status


def test_a_pool_of_another_host_is_left_alone(thermolion, small, layout):
    thermolion("submit", small, "--set", "workloads.0.epochs=2000")
    record = layout.submission("0001") / "pool.json"
    pool = json.loads(record.read_text())
    record.write_text(json.dumps(pool | {"host": "elsewhere"}))
    said = thermolion("cancel", "small")
    assert said.code == 1
    assert "runs on elsewhere" in said.err
    assert _workers(layout) or "queued" in thermolion("status", "small").out
    more = ["--set", "workloads.0.epochs=2000", "--set", "seeds=3"]
    assert "2 trials in" in thermolion("submit", small, *more).out
    assert thermolion("cancel", "small").code == 1  # and stops what is within reach
    assert not _workers_of(layout, "0002")
    os.utime(record, (0, 0))  # not heard of for long: believed dead
    assert "no job of this study is alive" in thermolion("cancel", "small").out
    record.write_text(json.dumps(pool))
    assert thermolion("cancel", "small").code == 0


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
    runs = [_process("run", small, root=layout.root) for _ in range(2)]
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


def test_lanes_do_not_outlive_a_killed_pool(thermolion, small, layout):
    thermolion("submit", small, "--set", "workloads.0.epochs=2000")
    _wait_for(lambda: any(b'"evaluated"' in log for log in _events(layout).values()))
    pool = json.loads((layout.submission("0001") / "pool.json").read_text())["pid"]
    os.kill(pool, signal.SIGKILL)
    _wait_for(lambda: not _workers(layout))
    assert "interrupted" in thermolion("status", "small").out


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
