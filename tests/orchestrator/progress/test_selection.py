"""What has failed is left alone, told by cause, and sent again where the user says so."""

import json

import pytest

from tracking.outcomes import read_outcomes

BROKEN = """\
import torch

class Touchy(torch.optim.SGD):
    def step(self, closure=None):
        raise RuntimeError("no such luck")

class Clumsy(torch.optim.SGD):
    def step(self, closure=None):
        raise KeyError("dropped")
"""
MENDED = """\
import torch

class Touchy(torch.optim.SGD):
    pass

class Clumsy(torch.optim.SGD):
    pass
"""


@pytest.fixture
def lab(small, tmp_path, monkeypatch):
    """A project with two optimizers that raise, and the options that put them in the sweep."""
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "lab_of_retry.py").write_text(BROKEN)
    monkeypatch.chdir(folder)
    text = small.read_text().replace(
        "baseline",
        "  touchy: {optimizer: 'lab_of_retry:Touchy', lr: 0.1}\n"
        "  clumsy: {optimizer: 'lab_of_retry:Clumsy', lr: 0.1}\nbaseline",
    )
    small.write_text(text)
    return folder


def _states(thermolion):
    trials = json.loads(thermolion("status", "small", "--json").out)["trials"]
    return {(trial["candidate"], trial["block"]): trial["state"] for trial in trials}


@pytest.mark.usefixtures("lab")
def test_failures_are_left_alone_and_told_by_cause(thermolion, small, layout):
    first = thermolion("run", small)
    assert first.code == 1
    assert "2 failed with RuntimeError (touchy on digits)" in first.err
    assert "RuntimeError: no such luck" in first.err
    assert "KeyError: 'dropped'" in first.err
    assert "trials without a result: 4" in first.err
    assert "thermolion retry" in first.err
    for verb in ("run", "submit"):
        again = thermolion(verb, small)
        assert again.code == (1 if verb == "run" else 0)
        assert "4 failed or held, left alone: thermolion retry" in again.out + again.err
    assert len(list(layout.submissions.iterdir())) == 1

    status = thermolion("status", "small").out
    assert "2 failed with KeyError (clumsy on digits)" in status
    assert "lab_of_retry.py" in status
    assert "mend it, then thermolion retry small" in status
    causes = json.loads(thermolion("status", "small", "--json").out)["failures"]
    assert {cause["kind"]: cause["count"] for cause in causes} == {
        "RuntimeError": 2,
        "KeyError": 2,
    }
    one = causes[0]["example"]
    for told in (thermolion("status", "small", one[:8]), thermolion("logs", "small", one[:8])):
        assert "Traceback" in told.out
        assert one in told.out


def test_retry_sends_what_is_selected_with_the_code_as_it_is_now(thermolion, small, lab, layout):
    assert thermolion("run", small).code == 1
    (lab / "lab_of_retry.py").write_text(MENDED)
    said = thermolion("retry", small, "--class", "RuntimeError", "--lanes", 1)
    assert said.code == 0, said.err
    assert "2 trials in" in said.out
    assert "2 failed or held, left alone" in said.out
    thermolion("run", "small")
    assert set(_states(thermolion).values()) == {"completed", "failed"}
    one = next(
        outcome.trial
        for outcome in read_outcomes(layout.events).values()
        if outcome.state == "failed"
    )
    assert one.candidate.name == "clumsy"
    assert "1 trial in" in thermolion("retry", "small", "--trial", one.id[:10]).out
    thermolion("run", "small")
    assert "1 trial in" in thermolion("retry", "small", "--candidate", "clumsy").out
    assert thermolion("run", "small").code == 0
    attempts = {o.trial.candidate.name: o.attempts for o in read_outcomes(layout.events).values()}
    assert attempts == {"thermolion": 1, "adamw": 1, "touchy": 2, "clumsy": 2}
    assert "nothing to retry" in thermolion("retry", "small").out


@pytest.mark.usefixtures("lab")
def test_what_cannot_be_retried_is_answered_with_the_choices(thermolion, small, layout):
    assert thermolion("run", small).code == 1
    for option, value, choice in (
        ("--class", "RuntimeEror", "'RuntimeError'"),
        ("--candidate", "clumsi", "'clumsy'"),
        ("--workload", "digit", "'digits'"),
        ("--trial", "ffffffffffffffff", "thermolion status"),
    ):
        said = thermolion("retry", "small", option, value)
        assert said.code == 2
        assert value in said.err
        assert choice in said.err
    done = next(o for o in read_outcomes(layout.events).values() if o.has_result)
    said = thermolion("retry", "small", "--trial", done.trial.id)
    assert said.code == 2
    assert "has a result (completed)" in said.err
    assert len(list(layout.submissions.iterdir())) == 1


def test_many_failures_alike_hold_the_rest_until_retry(thermolion, small, lab, layout):
    more = ["--set", "seeds=6", "--lanes", 1]
    said = thermolion("run", small, *more)
    assert said.code == 1
    states = _states(thermolion)
    assert sum(state == "held" for state in states.values()) > 0
    assert all(state == "completed" for (who, _), state in states.items() if who == "adamw")
    assert "held, because" in said.err
    assert "held" in thermolion("status", "small").out
    assert "held" in thermolion("logs", "small").out
    before = len(read_outcomes(layout.events))
    assert thermolion("run", "small", "--lanes", 1).code == 1
    assert len(read_outcomes(layout.events)) == before, "what is held is left alone"

    (lab / "lab_of_retry.py").write_text(MENDED)
    assert "12 trials in" in thermolion("retry", "small").out
    assert thermolion("run", "small").code == 0
    assert set(_states(thermolion).values()) == {"completed"}
