"""What follows by itself once all jobs have ended: retries, looks and notices, by one process."""

import json
import time
from threading import Thread

import pytest
from processes import wait_for

from jobs.contract.layout import Layout
from orchestrator.backends.pool import find_pool
from orchestrator.progress.status import read_status
from orchestrator.study.study import open_study
from orchestrator.submit import submit
from orchestrator.submit.submit import advance_unattended

TRAIN = """\
import os, signal, time, zlib
from pathlib import Path

def dies_once(trial, context):
    been = Path("FOLDER") / "been"
    if trial.block == 0 and trial.candidate.name == "b" and not been.exists():
        been.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    context.log(1, loss=zlib.crc32(trial.id.encode()) % 97 / 97)

def waits(trial, context):
    while not context.should_stop():
        time.sleep(0.05)
    context.save({})
"""
SWEEP = """\
study: alone
workloads: [{name: mine, train: "left_alone:NAME", metric: loss}]
candidates: {a: {optimizer: sgd, lr: 0.1}, b: {optimizer: sgd, lr: 0.2}}
baseline: a
seeds: {looks: [2, 3]}
failures: {lost: {retries: 9}, unattended: true}
notify: {command: "tee -a FOLDER/told", on: [done]}
"""


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """Write the sweep of one of the trainings above, and go to its folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "left_alone.py").write_text(TRAIN.replace("FOLDER", str(tmp_path)))

    def write(name):
        path = tmp_path / "alone.yaml"
        path.write_text(SWEEP.replace("NAME", name).replace("FOLDER", str(tmp_path)))
        return path

    return write


@pytest.fixture
def layout(layout):
    return Layout(layout.root, "alone")


def test_a_look_waits_for_its_retries_and_nobody_has_to_be_there(thermolion, alone, tmp_path):
    said = thermolion("submit", alone("dies_once"))
    assert said.code == 0, said.err
    (tmp_path / "left_alone.py").write_text("broken while nobody is there (")
    wait_for((tmp_path / "told").exists, 120)
    status = json.loads(thermolion("status", "alone", "--json").out)
    assert status["counts"] == {"completed": 6}
    assert status["stage"]["decided"] == 2
    assert json.loads((tmp_path / "told").read_text())["text"] == "alone is done: 6 completed"


def test_a_process_that_could_not_go_on_says_why_until_its_user_submits(
    thermolion, alone, tmp_path
):
    data = tmp_path / "data"
    data.mkdir()
    sweep = alone("dies_once")
    training = tmp_path / "left_alone.py"
    taken = f"Path({str(data)!r}).is_dir() and os.rmdir({str(data)!r})"
    training.write_text(training.read_text().replace("been.touch()", f"been.touch(); {taken}"))
    assert thermolion("submit", sweep, "--data", data).code == 0
    said = "the process that looks after this study has failed: the data root"
    wait_for(lambda: said in thermolion("status", "alone").out, 60)
    data.mkdir()
    assert thermolion("submit", sweep, "--data", data).code == 0
    assert said not in thermolion("status", "alone").out
    thermolion("cancel", "alone")


def test_run_stays_until_nothing_follows_any_more(thermolion, alone):
    said = thermolion("run", alone("dies_once"))
    assert said.code == 0, said.err
    assert json.loads(thermolion("status", "alone", "--json").out)["counts"] == {"completed": 6}


def test_of_what_was_cancelled_nothing_follows_before_submit(thermolion, alone, layout):
    assert thermolion("submit", alone("waits")).code == 0
    wait_for(lambda: any(layout.events.glob("*")))
    assert thermolion("cancel", "alone").code == 0
    assert find_pool(layout.submission("0001")) is None
    assert advance_unattended(open_study("alone", layout.root)) is None
    assert len(list(layout.submissions.iterdir())) == 1
    assert "4 trials in" in thermolion("submit", "alone").out
    thermolion("cancel", "alone")


def test_what_somebody_is_sending_at_the_moment_is_waited_for(small, tmp_path, monkeypatch):
    study, start = open_study(str(small), tmp_path / "studies"), submit._start

    def late(layout, new):
        time.sleep(1)  # written down, and not started yet
        start(layout, new)

    monkeypatch.setattr(submit, "_start", late)
    sending = Thread(target=submit.submit_study, args=(study, submit.SendOptions()))
    sending.start()
    wait_for((study.layout.submission("0001") / "submission.json").exists)
    assert advance_unattended(study) is None
    assert read_status(study).jobs_alive > 0
    sending.join()
    submit.cancel_study(study)
