"""Trials that are interrupted and go on: the same bits, whatever stopped them, however often."""

import dataclasses
import random
import sys
import threading
import time

import pytest
import torch

from jobs import checkpoint, events
from jobs.lane import EXIT_HELD, EXIT_INTERRUPTED, run_pack
from jobs.launch import Launch
from jobs.layout import Layout
from jobs.pack import Pack
from jobs.trial import Candidate, Reading, Trial, Workload, block_seeds
from tracking.outcomes import read_outcomes

RICH = Workload(
    name="digits",
    dataset="digits",
    model="convnet",
    model_options={"dropout": 0.2},
    epochs=2,
    global_batch=100,
    train_images=450,
    augment=("crop",),
    schedule={"cosine": {"warmup": 0.1, "floor": 0.0}},
    clip_norm=1.0,
    accumulate=2,
    label_smoothing=0.1,
    ema=0.9,
    no_decay=("bias", "norm"),
)
CANDIDATES = {
    "thermolion": {"lr": 1e-3},
    "adamw": {"lr": 1e-3},
    "lion": {"lr": 3e-4},
    "sgd": {"lr": 0.1, "momentum": 0.9},
}
STEPS = 10


@pytest.fixture(autouse=True)
def _as_it_was():
    """A lane fixes global settings of torch; give the next test its own back."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    path, modules = list(sys.path), set(sys.modules)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("my_"):
            del sys.modules[name]


def _trial(workload=RICH, optimizer="thermolion", precision="fp32", block=0):
    candidate = Candidate(optimizer, optimizer, CANDIDATES[optimizer])
    seeds = block_seeds(0, "compare", workload, block)
    return Trial(workload, candidate, "compare", block, seeds, precision=precision)


class _Study:
    """A study in a folder; each run is another attempt at its trials."""

    def __init__(self, folder, *trials, **pack):
        self.layout = Layout(folder, "study")
        self.trials, self.pack = trials, pack
        self.runs = 0

    def run(self, **launch):
        self.runs += 1
        pack = Pack(self.layout, f"{self.runs:04d}", 0, self.trials, **self.pack)
        return run_pack(pack, Launch(**launch))

    def outcomes(self):
        found = read_outcomes(self.layout.events)
        return [found[trial.id] for trial in self.trials]


def _result(outcome):
    curve = [(point.step, point.metrics) for point in outcome.curve]
    return outcome.state, outcome.weights, outcome.metrics, curve, outcome.nondeterministic


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("optimizer", CANDIDATES)
def test_a_trial_interrupted_at_many_steps_ends_with_the_same_bits(tmp_path, optimizer, precision):
    trial = _trial(optimizer=optimizer, precision=precision)
    whole = _Study(tmp_path / "whole", trial)
    assert whole.run() == 0
    broken = _Study(tmp_path / "broken", trial)
    for step in (1, 4, 5, 9):
        assert broken.run(stop_after=step) == EXIT_INTERRUPTED
        assert broken.outcomes()[0].state == "interrupted"
        assert broken.layout.checkpoint(trial.id).exists()
    assert broken.run() == 0
    (ended,) = broken.outcomes()
    assert _result(ended) == _result(whole.outcomes()[0])
    assert ended.attempts == 5
    assert not list(broken.layout.checkpoints.iterdir())


def test_work_that_a_kill_threw_away_is_done_again_with_the_same_bits(tmp_path):
    trial = _trial()
    whole, broken = _Study(tmp_path / "whole", trial), _Study(tmp_path / "broken", trial)
    whole.run()
    broken.run(stop_after=3)
    kept = broken.layout.checkpoint(trial.id).read_bytes()
    broken.run(stop_after=8)
    broken.layout.checkpoint(trial.id).write_bytes(kept)  # as if killed before the later one
    broken.run()
    assert _result(broken.outcomes()[0]) == _result(whole.outcomes()[0])


def test_a_torn_checkpoint_costs_time_and_no_bit(tmp_path):
    trial = _trial()
    whole, broken = _Study(tmp_path / "whole", trial), _Study(tmp_path / "broken", trial)
    whole.run()
    broken.run(stop_after=7)
    path = broken.layout.checkpoint(trial.id)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    broken.run()
    assert _result(broken.outcomes()[0]) == _result(whole.outcomes()[0])


def test_the_training_clock_goes_on_where_it_stopped(tmp_path):
    broken = _Study(tmp_path, _trial())
    broken.run(stop_after=5)
    before = broken.outcomes()[0].curve[-1].train_seconds
    broken.run()
    seconds = [point.train_seconds for point in broken.outcomes()[0].curve]
    assert seconds == sorted(seconds)
    assert broken.outcomes()[0].train_seconds > before


def test_checkpoints_are_written_by_time(tmp_path, monkeypatch):
    written = []
    write = checkpoint.write
    monkeypatch.setattr(
        checkpoint, "write", lambda path, kept: (written.append(kept), write(path, kept))
    )
    _Study(tmp_path / "never", _trial()).run()
    assert written == []
    _Study(tmp_path / "always", _trial(), checkpoint_every_s=0.0).run()
    assert len(written) >= STEPS - 1


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_checkpoint_may_outlive_its_trial(tmp_path, keep):
    trial = _trial(dataclasses.replace(RICH, ema=None))
    study = _Study(tmp_path, trial, keep=keep)
    study.run()
    (outcome,) = study.outcomes()
    last, best = study.layout.checkpoint(trial.id), study.layout.best_checkpoint(trial.id)
    assert last.exists() == (keep == "last")
    assert best.exists() == (keep == "best")
    kept = checkpoint.read(last if keep == "last" else best, trial.id)
    if keep == "last":
        assert kept.state["training"]["step"] == STEPS
    else:
        best_point = max(outcome.curve, key=lambda point: point.metrics["val_accuracy"])
        assert kept.step == best_point.step
        assert "features.0.weight" in kept.state["model"]


OWN = """
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


def _own(tmp_path, code, name="my_training", **workload):
    (tmp_path / f"{name}.py").write_text(code)
    made = Workload("mine", train=f"{name}:train", reading=Reading("fit"), **workload)
    return _trial(made), {"code_root": tmp_path}


def test_a_function_of_the_user_goes_on_with_the_same_bits(tmp_path):
    trial, pack = _own(tmp_path, OWN)
    whole, broken = _Study(tmp_path / "a", trial, **pack), _Study(tmp_path / "b", trial, **pack)
    assert whole.run() == 0
    for step in (3, 4, 15):
        assert broken.run(stop_after=step) == EXIT_INTERRUPTED
    assert broken.run() == 0
    assert _result(broken.outcomes()[0]) == _result(whole.outcomes()[0])
    (outcome,) = whole.outcomes()
    assert [point.step for point in outcome.curve] == list(range(1, 21))
    assert set(outcome.metrics) == {"fit", "loss"}


ENDINGS = {
    "a value that is not finite": (
        "def train(trial, context):\n    context.log(2, fit=float('nan'))",
        ("diverged", "fit is nan at step 2"),
    ),
    "a final value that is not finite": (
        "def train(trial, context):\n    return {'fit': float('inf')}",
        ("diverged", "fit is inf at the end"),
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
def test_however_a_function_ends_its_outcome_says_it(tmp_path, ending):
    code, (state, said) = ENDINGS[ending]
    trial, pack = _own(tmp_path, code, name="my_ending")
    study = _Study(tmp_path / "s", trial, **pack)
    assert study.run() == 0
    (outcome,) = study.outcomes()
    assert outcome.state == state
    assert said in outcome.error


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
        trial, pack = _own(tmp_path, code, name="my_draws", options={"width": 64}, steps=9)
        trial = _trial(trial.workload, optimizer)
        study = _Study(tmp_path / optimizer, trial, **pack)
        torch.rand(random.randint(1, 5))
        assert study.run() == 0
        curves.append([point.metrics for point in study.outcomes()[0].curve])
    assert curves[0][0] == curves[1][0]
    assert curves[0][1]["fit"] == 64.001
    assert curves[0][2]["fit"] == 9


SLOW = """
import time
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
    trial, pack = _own(tmp_path, SLOW, name="my_slow")
    study = _Study(tmp_path / "s", trial, **pack)
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


def test_a_lane_leaves_alone_what_another_has_completed(tmp_path):
    trial = _trial()
    study = _Study(tmp_path, trial)
    study.run()
    study.run()
    assert study.outcomes()[0].attempts == 1


def test_the_first_failures_hold_the_rest_of_a_submission(tmp_path):
    code = "def train(trial, context):\n    raise ValueError(f'no {trial.block}')"
    first, pack = _own(tmp_path, code, name="my_broken")
    trials = [_trial(first.workload, block=block) for block in range(6)]
    study = _Study(tmp_path / "s", *trials, **pack)
    assert study.run() == EXIT_HELD
    found = read_outcomes(study.layout.events)
    assert [outcome.state for outcome in found.values()] == ["failed"] * 3
    (log,) = study.layout.events.iterdir()
    (held,) = [event for event in events.read_events(log) if event.type == events.HELD]
    assert held.payload["trials"] == [trial.id for trial in trials[3:]]
    assert "ValueError: no 0" in held.payload["error"]
    study.run()
    assert len(read_outcomes(study.layout.events)) == 3  # the same ones first, then held again


def test_a_users_folders_called_like_ours_are_found_behind_ours(tmp_path):
    code = (
        "from jobs.mine import ANSWER\nfrom tracking.also_mine import FIT\n"
        "def train(trial, context):\n    context.log(1, fit=ANSWER * FIT)"
    )
    trial, pack = _own(tmp_path, code, name="my_folders")
    for name in ("jobs", "tracking", "slurm", "orchestrator"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('shadowed')")
    (tmp_path / "jobs" / "mine.py").write_text("ANSWER = 42.0")
    (tmp_path / "tracking" / "also_mine.py").write_text("FIT = 0.5")
    study = _Study(tmp_path / "s", trial, **pack)
    assert study.run() == 0
    (outcome,) = study.outcomes()
    assert (outcome.state, outcome.metrics) == ("completed", {"fit": 21.0})
