"""Trials through a lane: pairing, bits, divergence, failure, interruption; read from the log."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from jobs.contract.layout import Layout
from jobs.contract.pack import LANE_ENVIRONMENT, Pack
from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import DivergenceLimit, ImageWorkload, Workload
from jobs.lane import EXIT_INTERRUPTED, run_pack
from jobs.ranks.group import GroupBroken, RankGroup
from jobs.ranks.launch import Launch
from tracking.outcomes import Outcome, read_outcomes

pytestmark = pytest.mark.usefixtures("as_it_was")

DIGITS = ImageWorkload(
    name="digits",
    dataset="digits",
    model="convnet",
    epochs=2,
    global_batch=128,
    train_images=500,
    augment=("crop",),
)
CANDIDATES = [
    Candidate("thermolion", "thermolion", {"lr": 1e-3}),
    Candidate("adamw", "adamw", {"lr": 1e-3}),
    Candidate("lion", "lion", {"lr": 3e-4}),
    Candidate("sgd", "sgd", {"lr": 0.1, "momentum": 0.9}),
]


def _trial(candidate: Candidate, workload: Workload = DIGITS, block: int = 0) -> Trial:
    seeds = block_seeds(0, "compare", workload, block, candidate.noise_seed)
    return Trial(workload, candidate, "compare", block, seeds)


def _run(tmp_path: Path, *trials: Trial, **rest: object) -> dict[str, Outcome]:
    layout = Layout(tmp_path, "study")
    number = len(list(layout.events.glob("*")))
    pack = Pack(layout, "0001", number, trials, **rest)
    assert run_pack(pack, Launch()) == 0
    return read_outcomes(layout.events)


def test_candidates_of_a_block_share_split_weights_and_order_and_blocks_do_not(tmp_path):
    trials = [_trial(c, block=block) for block in (0, 1) for c in CANDIDATES]
    outcomes = _run(tmp_path, *trials)
    digests = {
        block: [outcomes[t.id].started["digests"] for t in trials if t.block == block]
        for block in (0, 1)
    }
    for of_block in digests.values():
        assert all(digest == of_block[0] for digest in of_block)
    first, second = digests[0][0], digests[1][0]
    assert first["data"] == second["data"]
    for what in ("split", "init", "order"):
        assert first[what] != second[what]
    start = {o.curve[0].metrics["val_loss"] for o in outcomes.values() if o.trial.block == 0}
    assert len(start) == 1


def test_the_same_trial_twice_has_the_same_bits(tmp_path):
    trial = _trial(CANDIDATES[0])
    ends = []
    for place in ("a", "b"):
        run = _run(tmp_path / place, trial)[trial.id]
        ends.append((run.weights, [p.metrics for p in run.curve], run.metrics))
    assert ends[0] == ends[1]
    assert ends[0][0]


def test_other_trials_in_a_pack_do_not_change_a_bit(tmp_path):
    alone = _run(tmp_path / "alone", _trial(CANDIDATES[0]))
    after = _run(tmp_path / "after", _trial(CANDIDATES[3]), _trial(CANDIDATES[0]))
    trial = _trial(CANDIDATES[0]).id
    assert alone[trial].weights == after[trial].weights
    assert alone[trial].metrics == after[trial].metrics
    assert [p.metrics for p in alone[trial].curve] == [p.metrics for p in after[trial].curve]


def test_evaluations_come_every_quarter_epoch_from_step_zero(tmp_path):
    trial = _trial(CANDIDATES[1], dataclasses.replace(DIGITS, global_batch=50))
    outcome = _run(tmp_path, trial)[trial.id]
    assert [point.step for point in outcome.curve] == [0, 3, 5, 8, 10, 13, 15, 18, 20]
    assert outcome.curve[-1].samples == 1000
    assert outcome.curve[4].epoch == 1.0
    assert outcome.started["steps"] == 20
    seconds = [point.train_seconds for point in outcome.curve]
    assert seconds[0] == 0.0
    assert seconds == sorted(seconds)
    assert 0.5 < outcome.metrics["test_accuracy"] <= 1
    assert "test_accuracy" not in outcome.curve[-1].metrics


def test_the_clock_stands_still_while_a_trial_is_evaluated(tmp_path, monkeypatch):
    from jobs.images import trainer

    def slow(*arguments):
        time.sleep(0.2)
        return evaluate(*arguments)

    evaluate = trainer.evaluate
    monkeypatch.setattr(trainer, "evaluate", slow)
    trial = _trial(CANDIDATES[1], dataclasses.replace(DIGITS, epochs=1, train_images=128))
    begin = time.perf_counter()
    outcome = _run(tmp_path, trial)[trial.id]
    assert outcome.train_seconds < time.perf_counter() - begin - 0.2 * len(outcome.curve)


def test_the_replication_split_scores_its_training_images(tmp_path):
    workload = dataclasses.replace(DIGITS, split="replication", train_images=300)
    trial = _trial(CANDIDATES[1], workload)
    outcome = _run(tmp_path, trial)[trial.id]
    assert outcome.started["images"]["validation"] == 0
    assert outcome.started["images"]["train"] == 300
    assert {"train_accuracy", "train_set_loss", "train_loss"} == set(outcome.curve[-1].metrics)
    assert set(outcome.started["chance"]) == {"train_accuracy", "test_accuracy"}


LIMIT = DivergenceLimit("train_loss", above=0.5)


@pytest.mark.parametrize(
    ("lr", "limit", "why"),
    [
        (1e30, None, r"_loss is (nan|inf).* at step \d"),
        (1e-4, LIMIT, r"train_loss is \d\.\d+, above the limit of 0\.5, at step 1$"),
    ],
)
def test_divergence_is_a_result_and_the_next_trial_runs(tmp_path, lr, limit, why):
    bad = _trial(Candidate("bad", "sgd", {"lr": lr}), dataclasses.replace(DIGITS, diverged=limit))
    good = _trial(CANDIDATES[1])
    outcomes = _run(tmp_path, bad, good)
    assert outcomes[bad.id].state == "diverged"
    assert outcomes[bad.id].has_result
    assert re.search(why, outcomes[bad.id].error)
    assert outcomes[good.id].state == "completed"


def test_a_model_that_has_learnt_nothing_is_at_chance_which_is_a_result(tmp_path):
    idle, good = _trial(Candidate("idle", "sgd", {"lr": 0.0})), _trial(CANDIDATES[1])
    outcomes = _run(tmp_path, idle, good)
    found = outcomes[idle.id]
    assert (found.state, found.error) == ("completed", None)
    assert re.fullmatch(r"val_accuracy 0\.\d{3} at the end, chance is 0\.1\d\d", found.at_chance)
    assert found.metrics["test_accuracy"] < 0.2
    assert found.weights is not None
    assert outcomes[good.id].at_chance is None


def test_a_failure_is_recorded_with_its_traceback_and_the_next_trial_runs(tmp_path):
    (tmp_path / "my_lab.py").write_text(
        "import torch\n"
        "class Broken(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n"
        "        raise RuntimeError('no such luck')\n"
    )
    broken = _trial(Candidate("broken", "my_lab:Broken", {"lr": 0.1}))
    absent = _trial(CANDIDATES[1], dataclasses.replace(DIGITS, dataset="mnist"))
    good = _trial(CANDIDATES[1])
    outcomes = _run(tmp_path, broken, absent, good, code_root=tmp_path)
    assert outcomes[broken.id].state == "failed"
    assert outcomes[broken.id].error == "RuntimeError: no such luck"
    assert "my_lab.py" in outcomes[broken.id].traceback
    assert outcomes[absent.id].state == "failed"
    assert "'mnist'" in outcomes[absent.id].error
    assert outcomes[good.id].state == "completed"


_DROPOUT = """
import torch
from torch import nn

def net(channels, size, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size**2, 64), nn.ReLU(),
                         nn.Dropout(0.5), nn.Linear(64, classes))

class Quits(torch.optim.SGD):
    def step(self, closure=None):
        raise SystemExit(3)
"""


def test_dropout_follows_its_stream_and_is_off_in_evaluations(tmp_path):
    (tmp_path / "my_nets.py").write_text(_DROPOUT)
    workload = dataclasses.replace(DIGITS, model="my_nets:net")
    trial = _trial(CANDIDATES[3], workload)
    other = dataclasses.replace(trial, seeds={**trial.seeds, "dropout": 1})
    first = _run(tmp_path / "a", trial, code_root=tmp_path)[trial.id]
    after = _run(tmp_path / "b", other, trial, code_root=tmp_path)
    assert first.state == "completed", first.traceback
    assert after[trial.id].weights == first.weights
    assert after[other.id].weights != first.weights
    assert after[other.id].curve[0].metrics == first.curve[0].metrics  # no dropout in evaluations


def test_a_trial_that_asks_the_process_to_exit_has_failed(tmp_path):
    (tmp_path / "my_nets.py").write_text(_DROPOUT)
    quits = _trial(Candidate("quits", "my_nets:Quits", {"lr": 0.1}))
    good = _trial(CANDIDATES[1])
    outcomes = _run(tmp_path, quits, good, code_root=tmp_path)
    assert outcomes[quits.id].state == "failed"
    assert outcomes[good.id].state == "completed"


def test_a_lane_trains_with_the_threads_it_is_given(tmp_path):
    pack = Pack(Layout(tmp_path, "study"), "0001", 0, ())
    run_pack(pack, Launch(threads=1))
    assert torch.get_num_threads() == 1
    run_pack(dataclasses.replace(pack, number=1), Launch(threads=2))
    assert torch.get_num_threads() == 2


def test_an_aa_study_runs_twice_and_differs_nowhere(tmp_path):
    replicas = [
        Candidate(f"r{n}", "thermolion", {"lr": 1e-3, "noise": False}, replica=n) for n in (0, 1)
    ]
    first, second = (_trial(candidate) for candidate in replicas)
    outcomes = _run(tmp_path, first, second)
    assert first.id != second.id
    assert outcomes[first.id].started_ms < outcomes[second.id].started_ms
    assert outcomes[first.id].metrics == outcomes[second.id].metrics
    assert [p.metrics for p in outcomes[first.id].curve] == [
        p.metrics for p in outcomes[second.id].curve
    ]


def test_a_noise_seed_gives_a_replica_noise_of_its_own(tmp_path):
    plain = _trial(Candidate("a", "thermolion", {"lr": 1e-2}))
    moved = _trial(Candidate("b", "thermolion", {"lr": 1e-2}, replica=1, noise_seed=1))
    outcomes = _run(tmp_path, plain, moved)
    assert outcomes[plain.id].started["digests"] == outcomes[moved.id].started["digests"]
    assert outcomes[plain.id].metrics["test_loss"] != outcomes[moved.id].metrics["test_loss"]


def test_a_signal_interrupts_at_the_next_step_and_a_rerun_gives_the_same_bits(tmp_path):
    trial = _trial(CANDIDATES[0], dataclasses.replace(DIGITS, epochs=60))
    layout = Layout(tmp_path, "study")
    pack = tmp_path / "pack.json"
    pack.write_text(json.dumps(Pack(layout, "0001", 0, (trial, _trial(CANDIDATES[1]))).to_json()))
    lane = subprocess.Popen(
        [sys.executable, "-P", "-m", "jobs.lane", str(pack)], env=os.environ | LANE_ENVIRONMENT
    )
    log = layout.event_log("0001", 0, 0, 0)
    while not (log.exists() and b'"evaluated"' in log.read_bytes()):
        time.sleep(0.01)
    lane.send_signal(signal.SIGTERM)
    assert lane.wait(timeout=60) == EXIT_INTERRUPTED
    interrupted = read_outcomes(layout.events)
    assert list(interrupted) == [trial.id]
    assert interrupted[trial.id].state == "interrupted"
    assert interrupted[trial.id].error == "stopped by SIGTERM"

    assert run_pack(Pack(layout, "0002", 0, (trial,)), Launch()) == 0
    resumed = read_outcomes(layout.events)[trial.id]
    assert (resumed.state, resumed.attempts) == ("completed", 2)
    assert not resumed.nondeterministic
    steps = [point.step for point in resumed.curve]
    assert steps == sorted(set(steps))


def test_a_rank_says_why_it_leaves_before_it_does(tmp_path, monkeypatch, caplog):
    logged = []

    def broken(*_):
        raise GroupBroken("rank 1 has left")

    monkeypatch.setattr(RankGroup, "broadcast", broken)
    monkeypatch.setattr(RankGroup, "leave", lambda _: logged.append(caplog.text))
    pack = Pack(Layout(tmp_path, "study"), "0001", 0, (_trial(CANDIDATES[0]),))
    assert run_pack(pack, Launch()) == EXIT_INTERRUPTED
    assert "rank 0 leaves: rank 1 has left" in logged[0]


def test_a_pack_is_equal_after_a_round_trip_through_json(tmp_path):
    pack = Pack(
        Layout(tmp_path, "s"),
        "0001",
        2,
        (_trial(CANDIDATES[0]),),
        Path("/data"),
        download=True,
        code_root=Path("/code"),
    )
    assert Pack.from_json(json.loads(json.dumps(pack.to_json()))) == pack
    bare = Pack(Layout(tmp_path, "s"), "0001", 2, ())
    assert Pack.from_json(json.loads(json.dumps(bare.to_json()))) == bare
