"""TPE suggests the second half of a budget by how the first half fared, on any backend."""

import json
import math
import os
import signal
from collections import Counter
from contextlib import suppress
from statistics import fmean, median

import pytest
from processes import pids, wait_for
from ray_head import processes_of, require_ray

from jobs.layout import Layout
from orchestrator.space import Axis
from orchestrator.suggest import suggest
from tracking.browse import TRIAL_TAG
from tracking.outcomes import read_outcomes
from tracking.store import open_store
from tracking.tuning import Fared

# The best rate differs by candidate and by workload; test data say the opposite.
TRAINING = """\
import math

BEST = {("one", "left"): -4, ("one", "right"): -1, ("two", "left"): -2, ("two", "right"): -3}

def train(trial, context):
    name = trial.candidate.setting_of or trial.candidate.name
    given = trial.candidate.hyperparameters
    far = abs(math.log10(given["lr"]) - BEST[trial.workload.name, name])
    score = 1 / (1 + far) / (2 if given["mode"] == [0, 1] else 1)
    for step in (0, 1):
        context.log(step, val=score, test=1 - score)
"""
BEST = {("one", "left"): -4, ("one", "right"): -1, ("two", "left"): -2, ("two", "right"): -3}
SWEEP = """\
study: suggested
defaults: {train: "my_suggested:train", metric: val, final_metric: test, unit: fraction}
workloads:
  - {name: one, options: {at: one}}
  - {name: two, options: {at: two}}
candidates: {left: {}, right: {}}
baseline: left
seeds: 2
tune:
  trials: 20
  search: optuna
  widen: 0
  space: {"*": {lr: {log: [1e-5, 1]}, mode: {choice: [[1, 0], [0, 1]]}}}
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "my_suggested.py").write_text(TRAINING)
    path = folder / "suggested.yaml"
    path.write_text(SWEEP)
    monkeypatch.chdir(folder)
    return path


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "studies", "suggested")


def _tried(layout):
    """Return the tuning trials by workload and candidate, in the order of their settings."""
    tried = {}
    for one in read_outcomes(layout.events).values():
        if one.trial.phase == "tune":
            at = one.trial.workload.name, one.trial.candidate.setting_of
            tried.setdefault(at, []).append(one.trial.candidate)
    return {
        at: sorted(of, key=lambda one: int(one.name.partition("#")[2])) for at, of in tried.items()
    }


def _ended(layout):
    """Count, by trial, how often any log says that it is complete."""
    return Counter(
        json.loads(line)["trial"]
        for log in layout.events.glob("*.jsonl")
        for line in log.read_text().splitlines()
        if '"type":"completed"' in line
    )


def test_what_is_suggested_is_better_than_what_was_drawn(thermolion, lab, layout):
    plan = thermolion("plan", lab).out
    assert "8 = 2 x 2 x 2 (workloads x candidates x seeds), and 80 of tuning" in plan
    assert "0 of 80 trials have ended; the settings of 40 are suggested" in plan
    said = thermolion("run", lab)
    assert said.code == 0, said.err
    tried = _tried(layout)
    assert {at: [one.name for one in of] for at, of in tried.items()} == {
        (workload, name): [f"{name}#{number}" for number in range(1, 21)]
        for workload, name in BEST
    }
    rates = {at: [one.hyperparameters["lr"] for one in of] for at, of in tried.items()}
    assert len({tuple(of[:10]) for of in rates.values()}) == 1  # all begin alike
    halves = {"drawn": slice(10), "suggested": slice(10, None)}
    distance = {
        half: fmean(
            median(abs(math.log10(rate) - best) for rate in rates[at][numbers])
            for at, best in BEST.items()
        )
        for half, numbers in halves.items()
    }
    assert distance["suggested"] < 0.75 * distance["drawn"]
    modes = Counter(tuple(c.hyperparameters["mode"]) for of in tried.values() for c in of[10:])
    assert modes[1, 0] > 2 * modes[0, 1]
    made = json.loads((layout.decisions / "winners.json").read_text())
    for one in made["chosen"]:
        at = one["workload"], one["candidate"]
        sound = [c.hyperparameters["lr"] for c in tried[at] if c.hyperparameters["mode"] == [1, 0]]
        nearest = min(sound, key=lambda rate: abs(math.log10(rate) - BEST[at]))
        assert one["values"] == {"lr": nearest, "mode": [1, 0]}
    assert thermolion("run", lab).err.startswith("everything is done: 88 of 88 trials")
    assert not (layout.decisions / "suggested-3.json").exists()


@pytest.mark.parametrize("backend", ["local", "ray"])
def test_killed_between_two_suggestions_it_goes_on_with_nothing_twice(
    thermolion, lab, layout, backend
):
    if backend == "ray":
        require_ray()
    lab.write_text(SWEEP.replace("trials: 20", "trials: 4"))
    temps = []
    for count in (3, 10):  # while points are trained, then while what was suggested is
        said = thermolion("submit", lab, "--backend", backend)
        assert said.code == 0, said.err
        wait_for(lambda: len(_ended(layout)) >= count, seconds=240)  # noqa: B023 - at once
        noted = list(layout.submissions.glob("*/ray.json"))
        temps += [json.loads(one.read_text())["temp"] for one in noted]
        for record in layout.submissions.glob("*/pool.json"):
            with suppress(ProcessLookupError):
                os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
    before = {one.name: one.read_text() for one in layout.decisions.glob("*")}
    said = thermolion("run", lab, "--backend", backend)
    assert said.code == 0, said.err
    assert {name: (layout.decisions / name).read_text() for name in before} == before
    assert {at: len(of) for at, of in _tried(layout).items()} == dict.fromkeys(BEST, 4)
    ended = _ended(layout)
    assert len(ended) == 16 + 8
    assert set(ended.values()) == {1}
    with open_store(layout.root) as store:
        experiment = store.client.get_experiment_by_name("suggested")
        runs = store.client.search_runs([experiment.experiment_id])
    in_mlflow = Counter(run.data.tags[TRIAL_TAG] for run in runs if TRIAL_TAG in run.data.tags)
    assert in_mlflow == ended
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert bool(temps) == (backend == "ray")
    wait_for(lambda: not any(map(processes_of, temps)), 90)  # a helper of Ray's takes a minute
    wait_for(lambda: not pids(layout, "backends.ray_driver"), 30)


def test_suggestions_stay_in_the_space_and_follow_from_their_seed():
    space = {
        "lr": Axis("log", 1e-4, 1e-2),
        "k": Axis("uniform", 1, 9, whole=True),
        "betas": Axis("choice", choices=([0.9, 0.95], [0.9, 0.99])),
    }
    told = [
        Fared(f"a#{n}", {"lr": 10**-n, "k": n, "betas": (0.9, 0.99)}, score, 0)
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
    monkeypatch.setattr("orchestrator.suggest.find_spec", lambda _: None)
    said = thermolion("run", lab)
    assert said.code == 2
    assert "Optuna is not installed: pip install 'thermolion[search]', or write sobol" in said.err
    assert not layout.folder.exists()
