"""`collect --follow`: curves of running trials in MLflow, whatever ends the collector."""

import signal

import pytest
from processes import start, wait_for

from jobs.contract.layout import Layout
from orchestrator.cli.terminal import Exit
from tracking.mlflow_store.store import open_store

# Logs a point, and the next one once it is let.
TRAIN = """\
import sys, time
from pathlib import Path
import thermolion
thermolion.log(1, fit=0.5)
while not (Path(sys.argv[3]) / "go").exists():
    time.sleep(0.02)
thermolion.log(2, fit=0.75)
"""
SWEEP = """\
study: mine
workloads:
  - {{name: mine, command: "python train.py {{lr}} {{seed}} {folder}", metric: fit, steps: 2}}
candidates: {{a: {{optimizer: sgd, lr: 1.0}}, b: {{optimizer: sgd, lr: 2.0}}}}
baseline: a
seeds: 1
"""


@pytest.fixture
def running(thermolion, tmp_path, monkeypatch):
    """A study whose first trials have logged one point, and wait."""
    code = tmp_path / "code"
    code.mkdir()
    monkeypatch.chdir(code)
    (code / "train.py").write_text(TRAIN)
    (code / "mine.yaml").write_text(SWEEP.format(folder=tmp_path))
    said = thermolion("submit", "mine.yaml", "--lanes", 2)
    assert said.code == 0, said.err
    wait_for(lambda: "2 running" in thermolion("status", "mine").out)
    yield Layout(tmp_path / "studies", "mine")
    (tmp_path / "go").touch()
    wait_for(lambda: "2 completed" in thermolion("status", "mine").out)


@pytest.fixture
def collecting(running, warm):
    """Start collectors of the study; whatever a test leaves behind is killed."""
    started = []

    def begin(*arguments):
        words = ("collect", "mine", "--follow", *arguments)
        started.append(start(*words, root=running.root, python=warm))
        return started[-1]

    yield begin
    for process in started:
        if process.returncode is None:
            process.kill()
            process.communicate()


def _curves(layout):
    """Return, by trial, the status of its run and its points."""
    if not layout.mlflow_store.exists():
        return {}
    with open_store(layout.root) as store:
        experiment = store.client.get_experiment_by_name("mine")
        if experiment is None:
            return {}
        found = store.client.search_runs([experiment.experiment_id])
        return {
            run.data.tags["thermolion.trial"]: (
                run.info.status,
                [p.step for p in store.client.get_metric_history(run.info.run_id, "fit")],
            )
            for run in found
            if "thermolion.trial" in run.data.tags
        }


def test_curves_of_running_trials_appear_and_a_killed_collector_is_followed_by_another(
    thermolion, running, collecting, tmp_path
):
    first = collecting()
    wait_for(lambda: list(_curves(running).values()) == [("RUNNING", [1])] * 2, 120)
    first.kill()
    first.communicate()

    second = collecting()
    assert second.stdout.readline().startswith("0 new, ")
    (tmp_path / "go").touch()
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert "no job of it lives any more" in err
    assert list(_curves(running).values()) == [("FINISHED", [1, 2])] * 2
    assert out.splitlines()
    assert not (running.folder / "collect.lock").exists()
    assert thermolion("collect", "mine").out.startswith("0 new, 0 updated, 2 unchanged")


def test_a_server_that_is_away_is_waited_for_and_said_once(collecting):
    follower = collecting("--mlflow", "http://127.0.0.1:9")
    lines = [follower.stderr.readline() for _ in range(3)]
    assert "http://127.0.0.1:9 failed" in lines[0]
    assert lines[1].startswith("0 of 2 trials are up to date there")
    assert lines[2].startswith("trying again in ")
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=60)
    assert follower.returncode == Exit.INTERRUPTED
    assert (
        err == "ended; go on with: thermolion collect mine --mlflow http://127.0.0.1:9 --follow\n"
    )


def test_a_server_that_is_away_all_the_time_costs_a_training_nothing(
    thermolion, small, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    said = thermolion("run", small)
    assert said.code == 1
    assert "report.html" in said.out
    assert "0 of 4 trials are up to date there" in said.err
    assert "4 completed" in thermolion("status", "small").out
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert thermolion("collect", "small").out.startswith("4 new, 0 updated, 0 unchanged")


@pytest.mark.parametrize("verb", ["run", "collect", "ui"])
def test_an_address_that_no_store_has_is_refused_before_anything_starts(
    thermolion, small, layout, verb
):
    said = thermolion(verb, small, "--mlflow", "htp://me:secret@x")
    assert said.code == 2
    for part in ("'htp://me:***@x' is no address", "http://HOST:PORT", "MLFLOW_TRACKING_URI"):
        assert part in said.err
    assert not layout.folder.exists()


def test_a_study_whose_jobs_have_ended_is_collected_once(thermolion, small):
    said = thermolion("collect", small, "--follow")
    assert said.code == 0, said.err
    assert said.out.startswith("0 new, 0 updated, 0 unchanged")
