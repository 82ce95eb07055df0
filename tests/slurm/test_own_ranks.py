"""A script of the user's own for two nodes, with checkpoints of its own, killed and resumed."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from processes import pids, wait_for
from slurm_lab import Lab

from tracking.outcomes import Outcome, read_outcomes

EXAMPLE = Path(__file__).parents[2] / "examples" / "fsdp2"
ONE = (
    *("--set", "candidates={fast: {optimizer: sgd, lr: 0.1}}", "--set", "baseline=null"),
    *("--set", "seeds=1", "--set", "workloads.0.steps=120"),
)


def _submit(lab: Lab, *words: object) -> None:
    said = lab.call("submit", "sweep.yaml", *ONE, *words)
    assert said.code == 0, said.err


def _outcome(lab: Lab) -> Outcome:
    (outcome,) = read_outcomes(lab.layout("fsdp2").events).values()
    return outcome


@pytest.mark.skipif(
    "SURVIVAL_LONG" not in os.environ,
    reason="starts eight Pythons with torch, which takes most of a minute: `make chaos` runs it",
)
def test_fsdp2_on_two_nodes_is_killed_twice_and_goes_on_from_its_own_checkpoints(lab, tmp_path):
    calm, killed = (lab.another(tmp_path / name) for name in ("calm", "killed"))
    for one in (calm, killed):
        shutil.copytree(EXAMPLE, one.folder, dirs_exist_ok=True)
    _submit(calm, "--backend", "local")
    layout = killed.layout("fsdp2")
    for submission, ranks in (("0001", slice(None)), ("0002", slice(1))):  # all, then one of them
        _submit(killed)
        wait_for(lambda: _kept(killed, submission), 120)  # noqa: B023 - at once
        for pid in pids(layout, "slurm.node", submission)[ranks]:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: killed.squeue() == [], 120)
    _submit(killed)
    killed.await_results("fsdp2", 1)
    calm.await_results("fsdp2", 1)
    expected, found = _outcome(calm), _outcome(killed)
    assert dict(found.metrics) == dict(expected.metrics)
    assert [point.metrics for point in found.curve] == [point.metrics for point in expected.curve]
    assert (found.attempts, found.nondeterministic) == (3, False)
    for submission in ("0002", "0003"):
        printed = layout.job_output(submission, 0).read_text()
        assert printed.count("goes on from step") == 2
    assert not list(layout.checkpoints.iterdir())


def _kept(lab: Lab, submission: str) -> bool:
    """Return True once an attempt has saved a checkpoint that none before it had."""
    latest = list(lab.layout("fsdp2").checkpoints.glob("*/latest"))
    step = int(latest[0].read_text() or 0) if latest else 0
    return step >= 20 * int(submission) and bool(
        list(lab.layout("fsdp2").events.glob(f"{submission}-*"))
    )
