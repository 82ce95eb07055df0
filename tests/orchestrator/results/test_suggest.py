"""TPE suggests the second half of a budget by how the first half fared, on any backend."""

import json
import math
from collections import Counter
from statistics import fmean, median

import pytest
from search_lab import BEST, search_lab, tried

from jobs.contract.layout import Layout
from orchestrator.results.suggest import suggest
from orchestrator.sweep.search_space import Axis
from tracking.compare.tuning import TriedSetting


@pytest.fixture
def lab(tmp_path, monkeypatch):
    path = search_lab(tmp_path / "lab", "optuna")
    monkeypatch.chdir(path.parent)
    return path


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "studies", "searched")


def test_what_is_suggested_is_better_than_what_was_drawn(thermolion, lab, layout):
    plan = thermolion("plan", lab).out
    assert "8 = 2 x 2 x 2 (workloads x candidates x seeds), and 80 of tuning" in plan
    assert "0 of 80 trials have ended; the settings of 40 are suggested" in plan
    said = thermolion("run", lab)
    assert said.code == 0, said.err
    found = {at: [one.trial.candidate for one in of] for at, of in tried(layout).items()}
    assert {at: [one.name for one in of] for at, of in found.items()} == {
        (workload, name): [f"{name}#{number}" for number in range(1, 21)]
        for workload, name in BEST
    }
    rates = {at: [one.hyperparameters["lr"] for one in of] for at, of in found.items()}
    first = {at: tuple(of[:10]) for at, of in rates.items()}
    # Candidates begin alike on a workload, and on another one elsewhere.
    assert all(first[workload, "left"] == first[workload, "right"] for workload, _ in BEST)
    assert len(set(first.values())) == 2
    halves = {"drawn": slice(10), "suggested": slice(10, None)}
    distance = {
        half: fmean(
            median(abs(math.log10(rate) - best) for rate in rates[at][numbers])
            for at, best in BEST.items()
        )
        for half, numbers in halves.items()
    }
    assert distance["suggested"] < 0.75 * distance["drawn"]
    modes = Counter(tuple(c.hyperparameters["mode"]) for of in found.values() for c in of[10:])
    assert modes[1, 0] > 2 * modes[0, 1]
    made = json.loads((layout.decisions / "winners.json").read_text())
    for one in made["chosen"]:
        at = one["workload"], one["candidate"]
        sound = [c.hyperparameters["lr"] for c in found[at] if c.hyperparameters["mode"] == [1, 0]]
        nearest = min(sound, key=lambda rate: abs(math.log10(rate) - BEST[at]))
        assert one["values"] == {"lr": nearest, "mode": [1, 0]}
    assert thermolion("run", lab).err.startswith("everything is done: 88 of 88 trials")
    assert not (layout.decisions / "suggested-3.json").exists()


def test_suggestions_stay_in_the_space_and_follow_from_their_seed():
    space = {
        "lr": Axis("log", 1e-4, 1e-2),
        "k": Axis("uniform", 1, 9, whole=True),
        "betas": Axis("choice", choices=([0.9, 0.95], [0.9, 0.99])),
    }
    told = [
        TriedSetting(f"a#{n}", {"lr": 10**-n, "k": n, "betas": (0.9, 0.99)}, score, 0)
        for n, score in ((2, 0.5), (3, 0.9), (4, None))
    ]
    found = suggest(space, told, False, 8, "a")
    assert found == suggest(space, told, False, 8, "a") != suggest(space, told, False, 8, "b")
    for one in found:
        assert 1e-4 <= one["lr"] <= 1e-2
        assert one["k"] in range(1, 10)
        assert one["betas"] in space["betas"].choices


def test_what_is_not_legal_together_is_not_suggested():
    space = {
        "momentum": Axis("uniform", 0.0, 0.9),
        "nesterov": Axis("choice", choices=(True, False)),
    }
    found = suggest(space, [], False, 6, "a", lambda values: not values["nesterov"])
    assert [one["nesterov"] for one in found] == [False] * 6
    assert suggest(space, [], False, 6, "a", lambda _: False) == []


def test_without_optuna_it_is_said_before_anything_starts(thermolion, lab, layout, monkeypatch):
    monkeypatch.setattr("orchestrator.results.suggest.find_spec", lambda _: None)
    said = thermolion("run", lab)
    assert said.code == 2
    assert "Optuna is not installed: pip install 'thermolion[search]', or write sobol" in said.err
    assert not layout.folder.exists()
