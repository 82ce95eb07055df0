"""A search whose driver is killed goes on where it was: no trial lost, none twice."""

import json
import os
import signal
from collections import Counter
from contextlib import suppress

import pytest
from processes import pids, wait_for
from ray_head import processes_of, require_ray
from search_lab import BEST, ended, search_lab, tried

from jobs.contract.layout import Layout
from orchestrator.backends.pool import find_pool
from tracking.mlflow_store.record import TRIAL_TAG
from tracking.mlflow_store.store import open_store


@pytest.mark.parametrize(
    ("search", "backend"), [("optuna", "local"), ("optuna", "ray"), ("asha", "ray")]
)
def test_killed_twice_it_goes_on_with_nothing_twice(
    thermolion, tmp_path, monkeypatch, search, backend
):
    if backend == "ray":
        require_ray()
    sweep, layout = search_lab(tmp_path / "lab", search, trials="4"), _layout(tmp_path)
    monkeypatch.chdir(sweep.parent)
    temps = []
    for count in (3, 10):  # of optuna: while points are trained, then while what was suggested is
        said = thermolion("submit", sweep, "--backend", backend)
        assert said.code == 0, said.err
        wait_for(lambda: len(ended(layout)) >= count, seconds=240)  # noqa: B023 - at once
        noted = list(layout.submissions.glob("*/ray.json"))
        temps += [json.loads(one.read_text())["temp"] for one in noted]
        for record in layout.submissions.glob("*/pool.json"):
            with suppress(ProcessLookupError):
                os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
            wait_for(lambda: find_pool(record.parent) is None)  # noqa: B023 - at once
    before = {one.name: one.read_text() for one in layout.decisions.glob("*")}
    said = thermolion("run", sweep, "--backend", backend)
    assert said.code == 0, said.err
    assert {name: (layout.decisions / name).read_text() for name in before} == before
    assert {at: len(of) for at, of in tried(layout).items()} == dict.fromkeys(BEST, 4)
    early = [one for of in tried(layout).values() for one in of if one.rung is not None]
    assert bool(early) == (search == "asha")
    assert len(ended(layout)) == 16 + 8
    assert set(ended(layout).values()) == {1}
    with open_store(layout.root) as store:
        experiment = store.client.get_experiment_by_name("searched")
        runs = store.client.search_runs([experiment.experiment_id])
    in_mlflow = Counter(run.data.tags[TRIAL_TAG] for run in runs if TRIAL_TAG in run.data.tags)
    assert in_mlflow == ended(layout)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert bool(temps) == (backend == "ray")
    wait_for(lambda: not any(map(processes_of, temps)), 90)  # a helper of Ray's takes a minute
    wait_for(lambda: not pids(layout, "backends.ray.driver"), 30)


def _layout(folder):
    return Layout(folder / "studies", "searched")
