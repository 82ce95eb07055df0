"""Sweeps whose trials are trained by several ranks, on this machine, by the command line."""

import json
import os
import signal
from pathlib import Path

import pytest
from processes import pids, wait_for

from jobs.contract.layout import Layout
from orchestrator.backends.pool import read_exit_code
from orchestrator.backends.records import read_submissions
from tracking.outcomes import read_outcomes

RANKS = """\
study: ranks
defaults:
  dataset: {synthetic: {images: 240, size: 8, classes: 4, difficulty: 0.3}}
  model: {mlp: {hidden: [32], dropout: 0.1}}
  epochs: 40
  global_batch: 32
workloads: {each: {ranks: [1, 2]}}
candidates: {thermolion: {}, adamw: {lr: 1e-2}}
baseline: adamw
seeds: 1
"""


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "ranks.yaml"
    path.write_text(RANKS)
    return path


@pytest.fixture
def ranks(tmp_path):
    return Layout(tmp_path / "studies", "ranks")


def _results(layout):
    return {
        trial: (o.state, o.weights, o.metrics, [(p.step, p.metrics) for p in o.curve])
        for trial, o in read_outcomes(layout.events).items()
    }


def test_world_sizes_are_trials_of_their_own_with_equal_seeds(thermolion, sweep):
    said = json.loads(thermolion("plan", sweep, "--json").out)
    trials = said["trials"]
    assert [trial["world_size"] for trial in trials] == [1, 1, 2, 2]
    assert len({trial["id"] for trial in trials}) == 4
    assert len({json.dumps(trial["seeds"]) for trial in trials}) == 1
    names = {trial["labels"]["workload"] for trial in trials}
    assert names == {"synthetic-mlp-1rank", "synthetic-mlp-2ranks"}
    sizes = {trial["id"]: trial["world_size"] for trial in trials}
    assert all(len({sizes[trial] for trial in pack}) == 1 for pack in said["packs"])
    assert "batch 32, 2 ranks" in thermolion("plan", sweep).out


RESOURCES = {
    "{}": 1,
    "{tasks_per_node: 3}": 3,
    "{nodes: 2, tasks_per_node: 2}": 4,
    "{gpus_per_node: 4}": 4,
    "{nodes: 2, gpus_per_node: 4, tasks_per_node: 4}": 8,
}


@pytest.mark.parametrize("resources", RESOURCES)
def test_a_trial_has_a_rank_for_every_gpu_or_task(thermolion, small, resources):
    said = thermolion("plan", small, "--json", "--set", f"resources={resources}")
    assert said.code == 0, said.err
    sizes = {trial["world_size"] for trial in json.loads(said.out)["trials"]}
    assert sizes == {RESOURCES[resources]}


WRONG = {
    "resources={gpus_per_node: 2, tasks_per_node: 3}": "leave tasks_per_node out",
    "resources={tasks_per_node: 0}": "greater than or equal to 1",
    "workloads.0.ranks=0": "greater than or equal to 1",
    "workloads.0.rank=2": "did you mean 'ranks'?",
}


@pytest.mark.parametrize("setting", WRONG)
def test_resources_that_no_trial_can_have_are_refused(thermolion, small, setting):
    said = thermolion("plan", small, "--set", setting)
    assert said.code == 2
    assert WRONG[setting] in said.err


def test_an_edited_number_of_ranks_is_called_by_its_key(thermolion, small):
    assert thermolion("run", small, "--set", "seeds=1").code == 0
    said = thermolion("submit", small, "--set", "seeds=1", "--set", "workloads.0.ranks=2")
    assert said.code == 2
    assert "workloads.digits.ranks: 1 -> 2" in said.err


def test_a_trial_of_several_ranks_is_refused_in_a_terminal(thermolion, sweep):
    trials = json.loads(thermolion("plan", sweep, "--json").out)["trials"]
    said = thermolion("trial", trials[-1]["id"], "--study", sweep, "--here")
    assert said.code == 2
    assert "is trained by 2 ranks" in said.err


def test_a_study_of_ranks_survives_signals_and_kills_with_the_same_bits(
    thermolion, sweep, ranks, tmp_path
):
    calm = Layout(tmp_path / "calm", "ranks")
    run = thermolion("run", sweep, "--root", calm.root)
    assert run.code == 0, run.err
    assert all(o.state == "completed" for o in read_outcomes(calm.events).values())

    def in_the_middle():
        curves = [o for o in read_outcomes(ranks.events).values() if o.state == "running"]
        return any(o.trial.world_size == 2 and len(o.curve) > 2 for o in curves)

    thermolion("submit", sweep)
    wait_for(in_the_middle, 120)
    thermolion("cancel", "ranks")
    assert not pids(ranks)
    (stopped,) = [o for o in read_outcomes(ranks.events).values() if o.state == "interrupted"]
    assert stopped.error == "stopped by SIGTERM"

    thermolion("submit", sweep)
    wait_for(in_the_middle, 120)
    killed = next(pid for pid in pids(ranks) if _is_rank_1(pid))
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: not pids(ranks, "backends.pool"), 120)
    assert "rank 1 died" in thermolion("status", "ranks").out
    last = read_submissions(ranks)[-1]
    assert read_exit_code(ranks, last.id, last.packs - 1) == 75

    again = thermolion("run", sweep)
    assert again.code == 0, again.err
    assert _results(ranks) == _results(calm)
    assert not list(ranks.checkpoints.glob("*"))
    assert not list(ranks.submissions.glob("*/output/*.meet"))


def _is_rank_1(pid):
    command = Path(f"/proc/{pid}/cmdline").read_text()
    return command.rstrip("\0").endswith("--rank\x001")


COMMAND = """\
study: commands
workloads:
  - {name: mine, command: "python train.py {lr} {seed}", metric: fit, ranks: 2}
candidates: {plain: {optimizer: sgd, lr: 0.1}, broken: {optimizer: sgd, lr: 0.5}}
baseline: plain
seeds: 1
"""
SCRIPT = """
import os, sys, time
from datetime import timedelta
import torch, torch.distributed as dist
import thermolion

dist.init_process_group("gloo", timeout=timedelta(seconds=300))  # as torchrun has it
if sys.argv[1] == "0.5" and dist.get_rank() == 1:
    sys.exit("rank 1 has had enough")
total = torch.ones(1)
dist.all_reduce(total)
thermolion.log(1, fit=total, ranks=int(os.environ["WORLD_SIZE"]))
dist.destroy_process_group()
"""


def test_a_command_is_started_once_a_rank_as_by_torchrun(thermolion, tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(SCRIPT)
    path = tmp_path / "commands.yaml"
    path.write_text(COMMAND)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    assert thermolion("run", path).code == 1
    outcomes = read_outcomes(tmp_path / "studies" / "commands" / "events").values()
    by_name = {outcome.trial.candidate.name: outcome for outcome in outcomes}
    assert by_name["plain"].state == "completed", by_name["plain"].error
    assert by_name["plain"].metrics == {"fit": 2.0, "ranks": 2.0}
    assert by_name["broken"].state == "failed"
    assert "rank 1 has had enough" in by_name["broken"].error
