"""Trials that are interrupted and go on: the same bits, whatever stopped them, however often."""

import dataclasses

import pytest
from lanes import CANDIDATES, REMEMBERING, RICH, STEPS, Study, made, result

from jobs.lane import EXIT_INTERRUPTED
from jobs.worker import checkpoint

pytestmark = pytest.mark.usefixtures("as_it_was")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("optimizer", CANDIDATES)
def test_a_trial_interrupted_at_many_steps_ends_with_the_same_bits(tmp_path, optimizer, precision):
    trial = made(optimizer=optimizer, precision=precision)
    whole = Study(tmp_path / "whole", trial)
    assert whole.run() == 0
    broken = Study(tmp_path / "broken", trial)
    for step in (1, 4, 5, 9):
        assert broken.run(stop_after=step) == EXIT_INTERRUPTED
        assert broken.outcomes()[0].state == "interrupted"
        assert broken.layout.checkpoint(trial.id).exists()
    assert broken.run() == 0
    (ended,) = broken.outcomes()
    assert result(ended) == result(whole.outcomes()[0])
    assert ended.attempts == 5
    assert not list(broken.layout.checkpoints.iterdir())


@pytest.mark.parametrize("optimizer", REMEMBERING)
def test_a_resumed_baseline_has_all_of_its_state(tmp_path, optimizer):
    trial = made(optimizer=optimizer, precision="fp16")
    whole, broken = Study(tmp_path / "whole", trial), Study(tmp_path / "broken", trial)
    assert whole.run() == 0
    for step in (2, 5):
        assert broken.run(stop_after=step) == EXIT_INTERRUPTED
    assert broken.run() == 0
    assert result(broken.outcomes()[0]) == result(whole.outcomes()[0])


def test_steps_that_a_kill_has_lost_are_repeated_with_the_same_bits(tmp_path):
    trial = made()
    whole, broken = Study(tmp_path / "whole", trial), Study(tmp_path / "broken", trial)
    whole.run()
    broken.run(stop_after=3)
    kept = broken.layout.checkpoint(trial.id).read_bytes()
    broken.run(stop_after=8)
    broken.layout.checkpoint(trial.id).write_bytes(kept)  # as if killed before the later one
    broken.run()
    assert result(broken.outcomes()[0]) == result(whole.outcomes()[0])


def test_a_torn_checkpoint_costs_time_and_no_bit(tmp_path):
    trial = made()
    whole, broken = Study(tmp_path / "whole", trial), Study(tmp_path / "broken", trial)
    whole.run()
    broken.run(stop_after=7)
    path = broken.layout.checkpoint(trial.id)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    broken.run()
    assert result(broken.outcomes()[0]) == result(whole.outcomes()[0])


def test_the_training_clock_continues_from_where_it_stopped(tmp_path):
    broken = Study(tmp_path, made())
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
    Study(tmp_path / "never", made()).run()
    assert written == []
    Study(tmp_path / "always", made(), checkpoint_every_s=0.0).run()
    assert len(written) >= STEPS - 1


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_checkpoint_may_outlive_its_trial(tmp_path, keep):
    trial = made(dataclasses.replace(RICH, ema=None))
    study = Study(tmp_path, trial, keep=keep)
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
