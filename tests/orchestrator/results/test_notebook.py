"""The Python API and `export`, by the doors of a notebook and of a terminal."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from jobs.contract.events import EventLog
from orchestrator import Study
from orchestrator.study.study import open_study
from orchestrator.sweep.document import SweepError
from tracking.outcomes import read_outcomes

FINALS = {"thermolion": [0.91, 0.92, 0.94], "adamw": [0.90, 0.90, 0.91]}


@pytest.fixture
def ran(small, tmp_path):
    """The logs of six trials that have ended, without their training."""
    study = open_study(str(small), tmp_path / "studies", ["seeds=3"])
    study.record()
    log = EventLog(study.layout.event_log("s1", 0, 0, 0), 0, free_bytes=0)
    log.append("opened", submission="s1", pack=0, lane=0, host="n1", device="cpu", code="c0")
    for trial in study.trials:
        final = FINALS[trial.candidate.name][trial.block]
        facts = {"token": "t", "steps": 10, "chance": {"test_accuracy": 0.1, "val_accuracy": 0.1}}
        same = {name: f"{name} {trial.block}" for name in ("data", "init", "order")}
        log.append("started", trial.id, config=trial.to_json(), digests=same, **facts)
        for step in (0, 5, 10):
            metrics = {"val_accuracy": 0.1 + step / 10 * (final - 0.1)}
            at = {"step": step, "epoch": step / 5, "samples": 8 * step, "train_seconds": step / 9}
            log.append("evaluated", trial.id, **at, metrics=metrics)
        ended = {"step": 10, "train_seconds": 1.0, "metrics": {"test_accuracy": final}}
        log.append("completed", trial.id, **ended)
    log.close()
    return study.layout


def test_a_notebook_gets_trials_curves_and_the_comparison_as_frames(thermolion, ran):
    study = Study.load(ran.folder)
    trials, curves = study.trials(), study.curves()
    outcomes = read_outcomes(ran.events)
    assert set(trials.index) == set(outcomes)
    assert set(trials["state"]) == {"completed"}
    assert trials["seed_init"].dtype == np.uint64
    for trial_id, outcome in outcomes.items():
        mine = curves[curves["trial"] == trial_id]
        assert mine["step"].tolist() == [point.step for point in outcome.curve]
        assert mine["val_accuracy"].tolist() == [
            point.metrics["val_accuracy"] for point in outcome.curve
        ]
        assert trials.loc[trial_id, "metrics.test_accuracy"] == outcome.metrics["test_accuracy"]

    # The p-value of the report, from the frame alone and by another library.
    wide = trials.pivot(index="block", columns="candidate", values="final_test_accuracy_pct")
    answers = study.compare()
    pooled = answers[answers["endpoint"] == "final_test_accuracy"].iloc[0]
    expected = stats.ttest_rel(wide["thermolion"], wide["adamw"])
    assert pooled["estimate_mean"] == pytest.approx((wide["thermolion"] - wide["adamw"]).mean())
    assert pooled["estimate_p"] == pytest.approx(expected.pvalue)
    assert study.compare("pairs")["difference"].notna().all()

    said = json.loads(thermolion("export", "small", "--json").out)
    assert [path.rpartition("/")[2] for path in said["written"]] == [
        "trials.parquet",
        "curves.parquet",
    ]
    read = pd.read_parquet(said["written"][1])
    assert read["val_accuracy"].tolist() == curves["val_accuracy"].tolist()
    shown = thermolion("export", "small", "--format", "tensorboard")
    assert "6 trials below" in shown.out
    assert f"--logdir {ran.folder / 'export/tensorboard'}" in shown.out


def test_a_study_without_results_has_its_plan_and_no_curves(small, tmp_path):
    folder = tmp_path / "studies/small"
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").write_text(small.read_text())
    study = Study.load(str(folder))
    assert study.trials()["state"].tolist() == ["waiting"] * 4
    assert study.curves().empty
    with pytest.raises(ValueError, match="no table 'nonsense': there are answers"):
        study.compare("nonsense")


def test_what_is_no_study_is_said_with_the_way_to_one(tmp_path):
    with pytest.raises(SweepError, match=r"no sweep\.yaml"):
        Study.load(tmp_path)
    (tmp_path / "small").mkdir()
    (tmp_path / "small/sweep.yaml").touch()
    with pytest.raises(SweepError, match="root, with the studies small"):
        Study.load(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SweepError, match=r"no sweep\.yaml"):
        Study.load(tmp_path / "file")


def test_export_refuses_a_format_that_it_does_not_know_and_a_folder_that_is_a_file(
    thermolion, small, tmp_path
):
    said = thermolion("export", small, "--format", "xlsx")
    assert said.code == 2
    assert "parquet" in said.err
    (tmp_path / "file").touch()
    said = thermolion("export", small, "--to", tmp_path / "file")
    assert said.code == 1
    assert str(tmp_path / "file") in said.err
    assert len(said.err.splitlines()) == 1
