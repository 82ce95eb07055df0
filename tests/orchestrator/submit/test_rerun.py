"""Results of other code are taken back where the user says so, and never silently."""

import json

import pytest

from jobs.contract.attempts import read_discards
from tracking.outcomes import read_outcomes

LAB = """\
import torch

class Slow(torch.optim.SGD):
    pass
"""


@pytest.fixture
def lab(small, tmp_path, monkeypatch):
    """The file of a user's optimizer, which is a candidate of the sweep `small`."""
    folder = tmp_path / "lab"
    folder.mkdir()
    code = folder / "lab_of_rerun.py"
    code.write_text(LAB)
    monkeypatch.chdir(folder)
    mine = "  mine: {optimizer: 'lab_of_rerun:Slow', lr: 0.1}\nbaseline"
    small.write_text(small.read_text().replace("baseline", mine))
    return code


def test_only_results_of_other_code_are_taken_back(thermolion, small, lab, layout):
    assert thermolion("run", small, "--set", "checkpoint.keep=last").code == 0
    same = thermolion("rerun", "small", "--code-changed")
    assert same.code == 0, same.err
    assert "the code has not changed: all 6 results" in same.out
    assert _decisions(layout) == {"analysis.json"}

    lab.write_text(f"{LAB}\n# another thought\n")
    dry = thermolion("rerun", "small", "--code-changed", "--dry-run")
    assert "2 of 6 results are of other code: would be taken back" in dry.out
    assert dry.out.count("/ mine /") == 2
    listed = json.loads(thermolion("rerun", "small", "--code-changed", "--dry-run", "--json").out)[
        "outdated"
    ]
    old = read_outcomes(layout.events)
    assert {one["id"]: one["code"] for one in listed} == {
        i: o.job["code"] for i, o in old.items() if o.trial.candidate.name == "mine"
    }
    assert len(list(layout.submissions.iterdir())) == 1

    said = thermolion("rerun", "small", "--code-changed")
    assert said.code == 0, said.err
    assert "2 trials in" in said.out
    assert _decisions(layout) == {"analysis.json", "rerun-1.json"}
    record = json.loads((layout.decisions / "rerun-1.json").read_text())
    assert (record["version"], record["kind"]) == (1, "rerun")
    assert {trial: set(logs) for trial, logs in record["discarded"].items()} == {
        one["id"]: {a.log for a in old[one["id"]].attempt_log} for one in listed
    }
    assert thermolion("run", "small").code == 0
    new = read_outcomes(layout.events, discarded=read_discards(layout))
    assert {outcome.state for outcome in new.values()} == {"completed"}
    assert {outcome.attempts for outcome in new.values()} == {1}
    for trial, outcome in new.items():
        assert (outcome.job["code"] != old[trial].job["code"]) == (trial in record["discarded"])
    assert "has not changed" in thermolion("rerun", "small", "--code-changed").out

    lab.write_text(f"{LAB}\n# a third one\n")
    assert thermolion("rerun", "small", "--code-changed").code == 0
    assert _decisions(layout) == {"analysis.json", "rerun-1.json", "rerun-2.json"}
    thermolion("cancel", "small")


def _decisions(layout):
    return {path.name for path in layout.decisions.iterdir()}


def test_nothing_is_taken_back_where_nothing_could_be_sent(thermolion, small, lab, layout):
    assert thermolion("run", small).code == 0
    lab.write_text("raise ImportError('half an edit')\n")
    said = thermolion("rerun", "small", "--code-changed")
    assert said.code == 2
    assert "half an edit" in said.err
    assert _decisions(layout) == {"analysis.json"}
    assert "6 completed" in thermolion("status", "small").out


def test_rerun_asks_what_makes_a_result_outdated(thermolion, small):
    assert "--code-changed" in thermolion("rerun", small).err


def test_living_jobs_are_waited_for(thermolion, small):
    thermolion("submit", small, "--set", "workloads.0.epochs=2000")
    said = thermolion("rerun", "small", "--code-changed")
    assert said.code == 2
    assert "are alive" in said.err
    thermolion("cancel", "small")
