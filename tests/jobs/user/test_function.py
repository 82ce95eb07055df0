"""The user's own function through a lane: how it ends, resumes, is fenced out and is held."""

import os
import random
import threading
import time

import pytest
import torch
from lanes import Study, made, result

from jobs.contract import events
from jobs.contract.workloads.workload import DivergenceLimit, MetricSpec, UserWorkload
from jobs.lane import EXIT_HELD, EXIT_INTERRUPTED
from jobs.worker import checkpoint
from tracking.outcomes import read_holds, read_outcomes

pytestmark = pytest.mark.usefixtures("as_it_was")

TRAINING = """
import torch

def train(trial, context):
    model = torch.nn.Linear(4, 1)
    optimizer = context.optimizer(model.parameters())
    state = context.load()
    begin = 0
    if state:
        model.load_state_dict(state["model"]); optimizer.load_state_dict(state["optimizer"])
        begin = state["step"]
    for step in range(begin, 20):
        if context.should_save():
            context.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                          "step": step})
        if context.should_stop():
            return
        loss = (model(torch.randn(8, 4)) ** 2).mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        context.log(step + 1, loss=loss.item(), fit=1 / (1 + loss.item()))
    return {"fit": model.weight.sum().item()}
"""


def _user_trial(tmp_path, code, name="my_training", **workload):
    (tmp_path / f"{name}.py").write_text(code)
    user_workload = UserWorkload(
        "mine", train=f"{name}:train", declared_metric=MetricSpec("fit"), **workload
    )
    return made(user_workload), {"code_root": tmp_path}


def test_a_function_of_the_user_goes_on_with_the_same_bits(tmp_path):
    trial, pack = _user_trial(tmp_path, TRAINING)
    whole, broken = Study(tmp_path / "a", trial, **pack), Study(tmp_path / "b", trial, **pack)
    assert whole.run() == 0
    for step in (3, 4, 15):
        assert broken.run(stop_after=step) == EXIT_INTERRUPTED
    assert broken.run() == 0
    assert result(broken.outcomes()[0]) == result(whole.outcomes()[0])
    (outcome,) = whole.outcomes()
    assert [point.step for point in outcome.curve] == list(range(1, 21))
    assert set(outcome.metrics) == {"fit", "loss"}


def test_all_points_before_a_checkpoint_are_on_disk(tmp_path, monkeypatch):
    trial, pack = _user_trial(tmp_path, TRAINING, name="my_saver")
    study = Study(tmp_path / "a", trial, **pack, checkpoint_every_s=0)
    synced, saved, real, write = {}, [], os.fsync, checkpoint.write

    def sync(file):
        synced[os.fstat(file).st_ino] = os.fstat(file).st_size
        real(file)

    def check(*arguments):
        (log,) = study.layout.events.glob("*")
        saved.append((log.stat().st_size, synced[log.stat().st_ino]))
        write(*arguments)

    monkeypatch.setattr(events.EventLog, "_is_sync_due", lambda _: False)  # a very slow disk
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(checkpoint, "write", check)
    assert study.run() == 0
    assert len(saved) > 5
    assert all(written == on_disk for written, on_disk in saved)


ENDINGS = {
    "a value that is not finite": (
        "def train(trial, context):\n    context.log(2, fit=float('nan'))",
        ("diverged", "fit is nan at step 2"),
    ),
    "a final value that is not finite": (
        "def train(trial, context):\n    return {'fit': float('inf')}",
        ("diverged", "fit is inf at the end"),
    ),
    "a value past the limit": (
        "def train(trial, context):\n    context.log(1, fit=2.0)\n    context.log(2, fit=31.5)",
        ("diverged", "fit is 31.5, above the limit of 30, at step 2"),
    ),
    "a final value past the limit": (
        "def train(trial, context):\n    context.log(1, fit=2.0)\n    return {'fit': 99.0}",
        ("diverged", "fit is 99, above the limit of 30, at the end"),
    ),
    "nothing logged": (
        "def train(trial, context):\n    pass",
        ("failed", "ended without logging fit; it logged nothing"),
    ),
    "something else logged": (
        "def train(trial, context):\n    context.log(1, loss=1)",
        ("failed", "ended without logging fit; it logged loss"),
    ),
    "no number": (
        "def train(trial, context):\n    context.log(1, fit='high')",
        ("failed", "fit is 'high' (str): log a number"),
    ),
    "a number as text": (
        "def train(trial, context):\n    context.log(1, fit='0.3')",
        ("failed", "fit is '0.3' (str): log a number"),
    ),
    "a number without its name": (
        "def train(trial, context):\n    context.log(1, fit=1)\n    return 0.5",
        ("failed", "returned 0.5 (float): return the final metrics by name"),
    ),
    "many numbers": (
        "import torch\ndef train(trial, context):\n    context.log(1, fit=torch.zeros(2))",
        ("failed", "tensor of shape (2,)"),
    ),
    "no step": (
        "def train(trial, context):\n    context.log(1.5, fit=1)",
        ("failed", "step is 1.5"),
    ),
    "a state that cannot be kept": (
        "def train(trial, context):\n    context.save({'opt': object()})",
        ("failed", "state['opt'] is of type builtins.object"),
    ),
    "an unknown stream": (
        "def train(trial, context):\n    context.seed('weights')",
        ("failed", "choose from split, init, order"),
    ),
    "an exit": (
        "def train(trial, context):\n    raise SystemExit(3)",
        ("failed", "SystemExit: 3"),
    ),
    "no such function": ("def fit(trial, context):\n    pass", ("failed", "has no 'train'")),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_outcome_says_how_a_function_has_ended(tmp_path, ending):
    code, (state, error) = ENDINGS[ending]
    limit = DivergenceLimit("fit", above=30.0) if "limit" in ending else None
    trial, pack = _user_trial(tmp_path, code, name="my_ending", diverged=limit)
    study = Study(tmp_path / "s", trial, **pack)
    assert study.run() == 0
    (outcome,) = study.outcomes()
    assert outcome.state == state
    assert error in outcome.error


def test_user_code_starts_from_equal_generators_and_can_be_told_its_options(tmp_path):
    code = (
        "import random, numpy, torch\n"
        "def train(trial, context):\n"
        "    context.log(1, a=random.random(), b=numpy.random.rand(), fit=torch.rand(()))\n"
        "    context.log(2, fit=context.options['width'] + context.hyperparameters['lr'])\n"
        "    context.log(3, fit=context.steps)\n"
    )
    curves = []
    for optimizer in ("adamw", "lion"):
        trial, pack = _user_trial(tmp_path, code, name="my_draws", options={"width": 64}, steps=9)
        trial = made(trial.workload, optimizer)
        study = Study(tmp_path / optimizer, trial, **pack)
        torch.rand(random.randint(1, 5))
        assert study.run() == 0
        curves.append([point.metrics for point in study.outcomes()[0].curve])
    assert curves[0][0] == curves[1][0]
    assert curves[0][1]["fit"] == 64.001
    assert curves[0][2]["fit"] == 9


SLOW = """
import time
from dataclasses import replace
def train(trial, context):
    state = context.load() or {"step": 0}
    for step in range(state["step"], 40):
        context.save({"step": step})
        if context.should_stop():
            return
        time.sleep(0.05)
        context.log(step + 1, fit=float(step))
"""


def test_of_two_attempts_at_one_trial_exactly_one_wins(tmp_path):
    trial, pack = _user_trial(tmp_path, SLOW, name="my_slow")
    study = Study(tmp_path / "s", trial, **pack)
    older = threading.Thread(target=study.run)
    older.start()
    while not study.layout.checkpoint(trial.id).exists():
        time.sleep(0.01)
    study.run()  # the first one was believed lost, and lives
    older.join()
    (outcome,) = study.outcomes()
    assert (outcome.state, outcome.attempts, outcome.nondeterministic) == ("completed", 2, False)
    assert [point.metrics["fit"] for point in outcome.curve] == [float(n) for n in range(40)]
    ends = {
        log.name: [event.type for event in events.read_events(log) if event.trial == trial.id]
        for log in study.layout.events.iterdir()
    }
    assert sorted(types[-1] for types in ends.values()) == ["completed", "evaluated"]
    assert sum(types.count("completed") for types in ends.values()) == 1


def test_a_lane_skips_a_trial_that_another_has_completed(tmp_path):
    trial = made()
    study = Study(tmp_path, trial)
    study.run()
    study.run()
    assert study.outcomes()[0].attempts == 1


def test_the_first_failures_hold_the_rest_of_a_submission(tmp_path):
    code = "def train(trial, context):\n    raise ValueError(f'no {trial.block}')"
    first, pack = _user_trial(tmp_path, code, name="my_broken")
    trials = [made(first.workload, block=block) for block in range(6)]
    study = Study(tmp_path / "s", *trials, **pack)
    assert study.run() == EXIT_HELD
    outcomes = read_outcomes(study.layout.events)
    assert [outcome.state for outcome in outcomes.values()] == ["failed"] * 3
    (log,) = study.layout.events.iterdir()
    (held,) = [event for event in events.read_events(log) if event.type == events.HELD]
    assert held.payload["trials"] == [trial.id for trial in trials[3:]]
    assert "ValueError: no 0" in held.payload["error"]
    study.run()
    assert len(read_outcomes(study.layout.events)) == 3  # the same ones first, then held again


def test_every_held_trial_has_the_failure_of_its_own_kind(tmp_path):
    code = (
        "def train(trial, context):\n"
        "    raise (KeyError if trial.candidate.name == 'adamw' else ValueError)('no')"
    )
    first, pack = _user_trial(tmp_path, code, name="my_two")
    kinds = ("thermolion", "adamw")
    trials = [made(first.workload, kind, block=b) for b in range(5) for kind in kinds]
    study = Study(tmp_path / "s", *trials, **pack)
    assert study.run() == EXIT_HELD
    held = {trial: hold.error for hold in read_holds(study.layout.events) for trial in hold.trials}
    names = {"adamw": "KeyError: 'no'", "thermolion": "ValueError: no"}
    assert held == {trial.id: names[trial.candidate.name] for trial in trials[6:]}


def test_a_users_folders_called_like_ours_are_found_behind_ours(tmp_path):
    code = (
        "from jobs.mine import ANSWER\nfrom tracking.also_mine import FIT\n"
        "def train(trial, context):\n    context.log(1, fit=ANSWER * FIT)"
    )
    trial, pack = _user_trial(tmp_path, code, name="my_folders")
    for name in ("jobs", "tracking", "slurm", "orchestrator"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('shadowed')")
    (tmp_path / "jobs" / "mine.py").write_text("ANSWER = 42.0")
    (tmp_path / "tracking" / "also_mine.py").write_text("FIT = 0.5")
    study = Study(tmp_path / "s", trial, **pack)
    assert study.run() == 0
    (outcome,) = study.outcomes()
    assert (outcome.state, outcome.metrics) == ("completed", {"fit": 21.0})
