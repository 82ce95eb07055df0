"""Baselines that remember things between steps, on several ranks: equal replicas, same bits."""

import dataclasses

from lanes import result
from rank_lanes import Study
from rank_trials import LAB, PLAIN, trial

# They train beside an average of the workload (`ema`).
EMA = ("muadam", "swa")
# With normalisation, so that an average needs statistics of its own; 16 steps in four epochs.
NORMALISED = dataclasses.replace(PLAIN, model="my_lab:net", model_options={}, epochs=4)
BASELINES = {
    "muadam": {"lr": 1e-3},
    "lookahead": {"lr": 3e-3, "slow_every": 3},
    "swats": {"lr": 1e-3, "threshold": 1.0},
    "swats_notebook": {"lr": 3e-3, "switch_after": 4},
    "swa": {"lr": 0.05, "momentum": 0.9, "average_from": 0.2},
}


def test_their_replicas_stay_equal_and_go_on_with_the_same_bits(tmp_path, monkeypatch):
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "my_lab.py").write_text(LAB)
    monkeypatch.setenv("LAB_FOLDER", str(folder))
    averaged = dataclasses.replace(NORMALISED, ema=0.8)
    trials = [
        trial(2, averaged if name in EMA else NORMALISED, name, **options)
        for name, options in BASELINES.items()
    ]
    whole = Study(tmp_path / "whole", *trials, code_root=folder)
    broken = Study(tmp_path / "broken", *trials, code_root=folder)
    assert whole.run() == [0, 0]
    # After the first average, and before the next.
    stops = [{"trials": [one], "stop_after": 5} for one in trials]
    assert broken.run_in_turn(*stops, {}) == [0, 0]
    outcomes = zip(BASELINES, whole.outcomes(), broken.outcomes(), strict=True)
    for name, expected, resumed in outcomes:
        # A trial whose replicas differ at its end has failed.
        assert expected.state in ("completed", "diverged"), (name, expected.error)
        assert result(resumed) == result(expected), name
        assert resumed.weights is not None
        assert (resumed.attempts, expected.attempts) == (2, 1)
