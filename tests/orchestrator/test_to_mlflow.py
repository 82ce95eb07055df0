"""What goes into MLflow where it is asked for: usage of the machine, kept checkpoints."""

import json

import torch

from tracking.browse import TRIAL_TAG
from tracking.outcomes import read_outcomes
from tracking.store import open_store

NAMES = {"process_cpu_utilization_percentage", "process_memory_usage_megabytes"}


def _runs(layout):
    with open_store(layout.root) as store:
        experiment = store.client.get_experiment_by_name("small")
        runs = store.client.search_runs([experiment.experiment_id])
        return {
            run.data.tags[TRIAL_TAG]: (run, store.client.list_artifacts(run.info.run_id))
            for run in runs
            if TRIAL_TAG in run.data.tags
        }


def test_usage_and_checkpoints_come_along_where_they_are_asked_for(thermolion, small, layout):
    plain = json.loads(thermolion("plan", small, "--json").out)
    sets = ("--set", "system_metrics=true", "--set", "checkpoint.keep=best")
    assert thermolion("run", small, *sets).code == 0
    outcomes = read_outcomes(layout.events)
    assert set(outcomes) == {one["id"] for one in plain["trials"]}
    for outcome in outcomes.values():
        assert outcome.usage
        assert outcome.metrics.keys().isdisjoint(NAMES)
    for run, artifacts in _runs(layout).values():
        used = {name.removeprefix("system/") for name in run.data.metrics if "system/" in name}
        assert used == NAMES
        assert 50 < run.data.metrics["system/process_memory_usage_megabytes"] < 1e5
        assert not artifacts

    assert "4 unchanged" in thermolion("collect", small, "--checkpoints").out
    for trial, (_, artifacts) in _runs(layout).items():
        (there,) = layout.mlflow_artifacts.rglob(f"{trial}.best.pt")
        assert [one.path for one in artifacts] == ["checkpoints"]
        assert torch.load(there, weights_only=True)["trial"] == trial
    before = {file: file.stat().st_ino for file in layout.mlflow_artifacts.rglob("*.pt")}
    assert thermolion("collect", small, "--checkpoints").code == 0
    assert {file: file.stat().st_ino for file in layout.mlflow_artifacts.rglob("*.pt")} == before


def test_nothing_of_it_unless_asked(thermolion, small, layout):
    assert thermolion("run", small).code == 0
    assert not any(outcome.usage for outcome in read_outcomes(layout.events).values())
    assert thermolion("collect", small, "--checkpoints").code == 0
    assert all(not artifacts for _, artifacts in _runs(layout).values())
