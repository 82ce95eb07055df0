"""What goes into MLflow where it is asked for: usage of the machine, kept checkpoints."""

import json

import torch

from tracking.mlflow_store.record import TRIAL_TAG
from tracking.mlflow_store.store import open_store
from tracking.outcomes import read_outcomes

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


def test_a_metric_may_be_called_anything(thermolion, layout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd_names.py").write_text(
        "def train(trial, context):\n"
        "    for step in (1, 2):\n"
        "        context.log(step, **{'mAP@0.5': step / 4, 'final_mAP@0.5': step / 8})\n"
        "        context.log(step, **{'/'.join(4 * ['x' * 90]): 1.0})\n"
    )
    long = "n" * 63
    (tmp_path / "odd.yaml").write_text(
        "study: small\nseeds: 2\n"
        f"workloads: [{{name: w{long}, train: 'odd_names:train', metric: 'mAP@0.5'}}]\n"
        f"candidates: {{a{long}: {{optimizer: sgd, lr: 0.1}}}}\n"
    )
    said = thermolion("run", "odd.yaml")
    assert said.code == 0, said.err
    for run, _ in _runs(layout).values():
        assert run.data.metrics["mAP_0.5"] == 0.5
        assert run.data.metrics["final_mAP_0.5"] == 0.25
        assert max(map(len, run.data.metrics)) > 200
    with open_store(layout.root) as store:
        experiment = store.client.get_experiment_by_name("small")
        every = store.client.search_runs([experiment.experiment_id])
    (cell,) = (run for run in every if "thermolion.cell" in run.data.tags)
    assert cell.data.metrics["final_mAP_0.5"] == 0.5
    assert len(every) == 4


def test_nothing_of_it_unless_asked(thermolion, small, layout):
    assert thermolion("run", small).code == 0
    assert not any(outcome.usage for outcome in read_outcomes(layout.events).values())
    assert thermolion("collect", small, "--checkpoints").code == 0
    assert all(not artifacts for _, artifacts in _runs(layout).values())
