"""Baselines that remember things between steps, on several ranks: equal replicas, same bits."""

import dataclasses

import pytest
from lanes import result
from rank_lanes import Study
from rank_trials import LAB, PLAIN, trial

from jobs.lane import EXIT_INTERRUPTED

# With normalisation, so that an average needs statistics of its own; eight steps in two epochs.
NORMALISED = dataclasses.replace(PLAIN, model="my_lab:net", model_options={}, epochs=2)
BASELINES = {
    "muadam": {"lr": 1e-3},
    "lookahead": {"lr": 1e-3, "slow_every": 3},
    "swats": {"lr": 1e-3, "threshold": 1.0},
    "swats_notebook": {"lr": 1e-3, "switch_after": 4},
    "swa": {"lr": 0.05, "momentum": 0.9, "average_from": 0.3},
}


def test_their_replicas_stay_equal_and_go_on_with_the_same_bits(tmp_path, monkeypatch):
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "my_lab.py").write_text(LAB)
    monkeypatch.setenv("LAB_FOLDER", str(folder))
    trials = [trial(2, NORMALISED, name, **options) for name, options in BASELINES.items()]
    alone = [dataclasses.replace(one, world_size=1) for one in trials]
    whole = Study(tmp_path / "whole", *trials, code_root=folder)
    broken = Study(tmp_path / "broken", *trials, code_root=folder)
    single = Study(tmp_path / "single", *alone, code_root=folder)
    assert whole.run() == [0, 0]
    for one in trials:
        # After the first average and before the next.
        assert broken.run(trials=[one], stop_after=5) == [EXIT_INTERRUPTED] * 2
    assert broken.run() == [0, 0]
    assert single.run() == [0]
    for name, *three in zip(
        BASELINES, whole.outcomes(), broken.outcomes(), single.outcomes(), strict=True
    ):
        expected, found, one = three
        # A trial whose replicas differ at its end has failed.
        assert expected.state == one.state == "completed", (name, expected.error)
        assert result(found) == result(expected), name
        assert found.attempts == 2
        losses = [[p.metrics["train_loss"] for p in o.curve if p.step] for o in (expected, one)]
        # Each rank normalises by its own share of a batch: near the one process, and not it.
        assert losses[0] == pytest.approx(losses[1], rel=0.3), name
