"""Trials of several ranks: the arithmetic of one process, equal replicas, and every bad end."""

import dataclasses
import signal
import time

import pytest
import torch
from lanes import result
from rank_lanes import Study, ended

from jobs import events
from jobs.ending import RANK_DIED
from jobs.lane import EXIT_INTERRUPTED
from jobs.trial import Candidate, Reading, Trial, Workload, block_seeds
from tracking.outcomes import read_outcomes

SET = {"difficulty": 0.3, "images": 130, "classes": 4, "size": 8, "seed": 1}
PLAIN = Workload(
    "plain",
    dataset="synthetic",
    dataset_options=SET,
    model="mlp",
    model_options={"hidden": [32], "dropout": 0.0},
    epochs=3,
    global_batch=30,
    train_images=101,
)
# Two buckets of gradients, the second of which torch fills in another order from step two on.
WIDE = {"hidden": [512, 512], "dropout": 0.2}

LAB = """
import os
import torch
from torch import nn

FOLDER = os.environ["LAB_FOLDER"]


def flat(params, grad=False):
    return torch.cat([(p.grad if grad else p).detach().flatten() for p in params])


class Seen(torch.optim.SGD):
    '''Writes down every gradient and what comes of it.'''

    def __init__(self, params, lr, tag):
        super().__init__(params, lr=lr)
        self.params, self.seen = self.param_groups[0]["params"], []
        self.tag = tag

    def step(self, closure=None):
        gradient = flat(self.params, grad=True)
        super().step()
        self.seen.append((gradient, flat(self.params)))
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        torch.save(self.seen, f"{FOLDER}/{self.tag}-{rank}.pt")


class Strays(torch.optim.SGD):
    def step(self, closure=None):
        super().step()
        with torch.no_grad():
            self.param_groups[0]["params"][0][0, 0] += torch.distributed.get_rank()


class Raises(torch.optim.SGD):
    count = 0

    def step(self, closure=None):
        self.count += 1
        if torch.distributed.get_rank() == 1 and self.count == 2:
            raise ValueError("no such luck")
        super().step()


def net(channels, size, classes):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                         nn.Linear(4 * (size - 2) ** 2, classes))
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A module of the user's, found by every rank."""
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "my_lab.py").write_text(LAB)
    monkeypatch.setenv("LAB_FOLDER", str(folder))
    return folder


def _trial(ranks, workload=PLAIN, optimizer="sgd", precision="fp32", **hyperparameters):
    candidate = Candidate(optimizer, optimizer, hyperparameters or {"lr": 0.1})
    seeds = block_seeds(0, "compare", workload, 0)
    return Trial(workload, candidate, "compare", 0, seeds, world_size=ranks, precision=precision)


def _losses(outcome):
    return torch.tensor([p.metrics["train_loss"] for p in outcome.curve if p.step])


RECIPES = {
    "plain": PLAIN,
    "of three samples": dataclasses.replace(PLAIN, global_batch=3, train_images=9, epochs=4),
    "accumulated": dataclasses.replace(
        PLAIN,
        accumulate=4,
        clip_norm=0.5,
        label_smoothing=0.1,
        augment=("hflip", "crop"),
        schedule={"linear": {"warmup": 0.2, "floor": 0.0}},
        model="convnet",
        model_options={"dropout": 0.0},
        ema=0.9,
    ),
}


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Every recipe with 1, 2 and 4 ranks: by name and ranks, the outcome and what was seen."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "my_lab.py").write_text(LAB)
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_FOLDER", str(folder))
        for ranks in (1, 2, 4):
            tags = {name: f"{number}-{ranks}" for number, name in enumerate(RECIPES)}
            trials = [
                _trial(ranks, recipe, "my_lab:Seen", lr=0.1, tag=tags[name])
                for name, recipe in RECIPES.items()
            ]
            study = Study(folder / str(ranks), *trials, code_root=folder)
            study.run()
            for name, outcome in zip(RECIPES, study.outcomes(), strict=True):
                seen = [torch.load(folder / f"{tags[name]}-{rank}.pt") for rank in range(ranks)]
                found[name, ranks] = outcome, seen
    return found


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("recipe", RECIPES)
def test_ranks_take_the_steps_of_one_process(together, recipe, ranks):
    one, (alone,) = together[recipe, 1]
    several, seen = together[recipe, ranks]
    assert several.curve[-1].step == one.curve[-1].step, several.traceback  # both to the end
    expected, gradient = alone[0][0], seen[0][0][0]
    assert (gradient - expected).norm() <= 1e-5 * expected.norm()
    assert len(_losses(one)) >= 10
    assert torch.allclose(_losses(several)[:10], _losses(one)[:10], rtol=0, atol=1e-4)
    assert several.started["digests"] == one.started["digests"]
    assert [point.samples for point in several.curve] == [point.samples for point in one.curve]
    assert several.curve[0].metrics["val_loss"] == pytest.approx(
        one.curve[0].metrics["val_loss"], rel=1e-6
    )


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("recipe", RECIPES)
def test_replicas_are_equal_to_the_bit_after_every_step(together, recipe, ranks):
    _, (first, *others) = together[recipe, ranks]
    assert len(first) == len(together[recipe, 1][1][0])
    for other in others:
        assert all(torch.equal(a[1], b[1]) for a, b in zip(first, other, strict=True))


GATES = {
    "averaged, fp16": ("fp16", {"lr": 1e-3}),
    "replicas": ("fp32", {"lr": 1e-3, "gate": "replicas", "reference_batch": 13}),
    "local": ("fp32", {"lr": 1e-3, "gate": "local"}),  # every rank has moments of its own
}


def test_ranks_that_are_interrupted_end_with_the_same_bits(tmp_path):
    rich = dataclasses.replace(
        PLAIN, model_options=WIDE, accumulate=2, augment=("crop",), ema=0.9, global_batch=26
    )
    trials = [
        _trial(3, rich, "thermolion", precision, **hyperparameters)
        for precision, hyperparameters in GATES.values()
    ]
    whole, broken = Study(tmp_path / "whole", *trials), Study(tmp_path / "broken", *trials)
    assert whole.run() == [0] * 3
    for trial in trials:
        assert broken.run(trials=[trial], stop_after=6) == [EXIT_INTERRUPTED] * 3
    assert broken.run() == [0] * 3
    for found, expected in zip(broken.outcomes(), whole.outcomes(), strict=True):
        assert result(found) == result(expected)
        assert (found.attempts, expected.attempts) == (2, 1)


LONG = dataclasses.replace(PLAIN, epochs=4000, model_options={"hidden": [16], "dropout": 0.1})


def _evaluated(study):
    return any(b'"evaluated"' in log.read_bytes() for log in study.layout.events.glob("*"))


def _start_and_wait(study, **fields):
    processes = study.start(**fields)
    end = time.monotonic() + 120
    while not _evaluated(study):
        assert time.monotonic() < end, "nothing was evaluated"
        time.sleep(0.02)
    return processes


@pytest.mark.parametrize("victim", [0, 1])
def test_ranks_leave_at_once_when_one_is_killed(tmp_path, victim):
    study = Study(tmp_path, _trial(3, LONG))
    processes = _start_and_wait(study)
    processes[victim].kill()
    begin = time.monotonic()
    codes = [code for code, _ in ended(processes)]
    assert time.monotonic() - begin < 60  # and not the half hour that a rank may be silent
    assert codes == [-signal.SIGKILL if r == victim else EXIT_INTERRUPTED for r in range(3)]
    (outcome,) = study.outcomes()
    if victim:
        assert (outcome.state, outcome.kind) == ("interrupted", RANK_DIED)
        assert outcome.error == "rank 1 died"
    else:
        assert outcome.state == "running"  # nobody was left to say more: the status calls it lost


def test_a_rank_that_hangs_is_given_up(tmp_path):
    study = Study(tmp_path, _trial(2, LONG))
    processes = _start_and_wait(study, silence_s=3)
    processes[1].send_signal(signal.SIGSTOP)
    ((code, _),) = ended(processes[:1])
    assert code == EXIT_INTERRUPTED
    assert study.outcomes()[0].error == "rank 1 died"
    processes[1].kill()
    ended(processes[1:])


def test_a_signal_to_one_rank_stops_all_at_one_step(tmp_path):
    study = Study(tmp_path, _trial(2, LONG))
    processes = _start_and_wait(study)
    processes[1].send_signal(signal.SIGTERM)
    assert [code for code, _ in ended(processes)] == [EXIT_INTERRUPTED] * 2
    (outcome,) = study.outcomes()
    assert (outcome.state, outcome.error) == ("interrupted", "stopped by SIGTERM")
    assert study.layout.checkpoint(outcome.trial.id).exists()


def test_bad_trials_of_several_ranks_touch_no_neighbour(tmp_path, lab):
    bad = [
        _trial(2, PLAIN, "my_lab:Raises", lr=0.1),
        _trial(2, PLAIN, "my_lab:Strays", lr=0.1),
        _trial(2, PLAIN, "sgd", lr=1e30),
        _trial(2, dataclasses.replace(PLAIN, dataset="mnist", dataset_options={})),
    ]
    statistics = dataclasses.replace(PLAIN, model="my_lab:net", model_options={}, epochs=1)
    study = Study(tmp_path / "s", *bad, _trial(2, statistics), code_root=lab)
    assert study.run() == [0, 0]
    raises, strays, diverged, absent, good = study.outcomes()
    assert (raises.state, raises.error) == ("failed", "rank 1: ValueError: no such luck")
    assert raises.kind == "ValueError"
    assert "my_lab.py" in raises.traceback
    assert (strays.state, strays.kind) == ("failed", "ReplicasDiffer")
    assert diverged.state == "diverged"
    assert absent.state == "failed"
    assert "'mnist'" in absent.error
    assert good.state == "completed", good.traceback


def test_ranks_that_do_not_come_are_named_with_host_and_port(tmp_path):
    study = Study(tmp_path, _trial(3))
    ((code, said),) = ended(study.start(ranks=[0], timeout_s=1))
    assert code == 1
    assert "rank 0 has waited at 127.0.0.1:" in said
    assert "ranks 1, 2 of 3 did not come" in said
    ((code, said),) = ended(study.start(ranks=[2], timeout_s=1))
    assert code == 1
    assert "rank 2 has waited 1 s for " in said
    assert not read_outcomes(study.layout.events)


OWN = """
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

def train(trial, context):
    assert (context.rank, context.world_size) == (dist.get_rank(), dist.get_world_size())
    model = torch.nn.Linear(4, 1)
    parallel = DistributedDataParallel(model)
    optimizer = context.optimizer(model.parameters())
    state = context.load() or {"step": 0}
    if "model" in state:
        model.load_state_dict(state["model"])
    torch.manual_seed(context.rank) if not state["step"] else None
    for step in range(state["step"], 12):
        if context.should_save():
            context.save({"model": model.state_dict(), "step": step})
        if context.should_stop():
            return
        loss = (parallel(torch.randn(8, 4)) ** 2).mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        both = loss.detach().clone()
        dist.all_reduce(both)
        context.log(step + 1, loss=both, rank=float(context.rank))
    return {"loss": model.weight.sum(), "rank": context.rank}

def alone(trial, context):
    if context.rank == 0:
        context.save({})
        context.should_stop()
    context.log(1, loss=1.0)

def early(trial, context):
    if context.rank == 0:
        context.should_stop()
    context.log(1, loss=1.0)
"""


def test_a_function_of_the_user_is_given_its_rank_and_goes_on_with_the_same_bits(tmp_path):
    (tmp_path / "my_ranks.py").write_text(OWN)
    own = Workload("mine", train="my_ranks:train", reading=Reading("loss", goal="min"), ranks=2)
    trials = [
        _trial(2, own),
        *(_trial(2, dataclasses.replace(own, train=f"my_ranks:{n}")) for n in ("alone", "early")),
    ]
    whole = Study(tmp_path / "whole", *trials, code_root=tmp_path)
    assert whole.run() == [0, 0]
    trained, alone, early = whole.outcomes()
    assert trained.state == "completed", trained.traceback
    assert len(trained.curve) == 12
    assert {point.metrics["rank"] for point in trained.curve} == {0.0}
    broken = Study(tmp_path / "broken", trials[0], code_root=tmp_path)
    assert broken.run(stop_after=5) == [EXIT_INTERRUPTED] * 2
    assert broken.run() == [0, 0]
    assert result(broken.outcomes()[0]) == result(trained)
    for outcome in (alone, early):
        assert outcome.state == "failed"
        assert "every rank has to call it alike" in outcome.error
    ids = [e.trial for log in whole.layout.events.iterdir() for e in events.read_events(log)]
    assert ids.count(trained.trial.id) == 14  # rank 0 alone has written
