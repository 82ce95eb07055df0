"""A study whose folder was renamed or moved: that is noticed, and nothing runs twice for it."""

import json

import pytest
from processes import event_logs, wait_for

from jobs.contract.layout import Layout
from jobs.contract.pack import Pack
from tracking.outcomes import read_outcomes


@pytest.fixture
def done(thermolion, small, layout):
    """The study `small`, all of it done and collected."""
    said = thermolion("run", small)
    assert said.code == 0, said.err
    return layout


def test_a_renamed_study_is_noticed_by_either_name_until_both_are_alike(thermolion, done, small):
    renamed = done.folder.rename(done.root / "renamed")
    for words in (("status", "renamed"), ("submit", small), ("status", renamed / "sweep.yaml")):
        said = thermolion(*words)
        assert said.code == 2
        assert f"the folder {renamed} holds the records of a study 'small'" in said.err
        assert "rename it back to small" in said.err
    assert not done.folder.exists()
    text = (renamed / "sweep.yaml").read_text().replace("study: small", "study: renamed")
    (renamed / "sweep.yaml").write_text(text)
    assert "4 completed" in thermolion("status", "renamed").out
    renamed.rename(done.folder)
    (done.folder / "sweep.yaml").write_text(small.read_text())
    assert "nothing to send: 4 of 4" in thermolion("submit", small).out


def test_a_copy_of_a_study_under_another_name_is_made_by_set_as_before(thermolion, done):
    said = thermolion("plan", "small", "--set", "study=another", "--json")
    assert said.code == 0, said.err
    assert done.folder.exists()


def test_a_moved_root_goes_on_but_for_a_store_that_writes_where_it_was(thermolion, done, small):
    moved = done.root.rename(done.root.with_name("moved é"))
    assert "4 completed" in thermolion("status", "small", "--root", moved).out
    assert "nothing to send: 4 of 4" in thermolion("submit", small, "--root", moved).out
    said = thermolion("collect", "small", "--root", moved)
    assert said.code == 1
    assert f"the store was moved: files of 'small' go to {done.root}/mlartifacts" in said.err
    assert not done.root.exists()
    (moved / "mlflow.db").rename(moved / "old.db")
    (moved / "mlartifacts").rename(moved / "old")
    assert thermolion("collect", "small", "--root", moved).code == 0


WAITS = """\
import time

def train(trial, context):
    for step in range(context.load() or 0, 1000):
        context.save(step)
        context.log(step, score=CODE)
        if context.should_stop():
            return
        time.sleep(0.05)
"""
OWN = """\
study: small
workloads: [{name: w, train: "moved_code:train", metric: score}]
candidates: {adamw: {lr: 1e-2}}
seeds: 1
"""


def test_a_study_that_is_moved_while_it_runs_is_told_and_goes_on_later_with_its_code(
    thermolion, small, layout, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code = tmp_path / "moved_code.py"
    code.write_text(WAITS.replace("CODE", "1.0"))
    small.write_text(OWN)
    assert thermolion("submit", small).code == 0
    wait_for(lambda: any(b'"evaluated"' in log for log in event_logs(layout).values()))
    moved = Layout(tmp_path / "moved", "small")
    layout.root.rename(moved.root)
    assert (
        f"its jobs write below {layout.root}"
        in thermolion("status", "small", "--root", moved.root).out
    )
    said = thermolion("submit", small, "--root", moved.root)
    assert said.code == 2
    assert f"'small' was moved, and 1 job of it is alive, sent from {layout.root}" in (said.err)
    moved.root.rename(layout.root)
    thermolion("cancel", "small")
    layout.root.rename(moved.root)
    code.write_text(WAITS.replace("CODE", "2.0"))
    assert thermolion("submit", small, "--root", moved.root).code == 0
    thermolion("cancel", "small", "--root", moved.root)
    pack = Pack.from_json(json.loads(moved.pack("0002", 0).read_text()))
    assert pack.code_root == moved.submission("0001") / "code"
    (outcome,) = read_outcomes(moved.events).values()
    assert {point.metrics["score"] for point in outcome.curve} == {1.0}
