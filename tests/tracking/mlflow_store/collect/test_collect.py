"""Collecting into a real store: trials as they go on, and that repeats are free."""

import json
import math
import shutil
import sys
from dataclasses import asdict
from typing import Any

from tracking.compare.compare import compare
from tracking.mlflow_store.store import open_store
from tracking.questions.analysis import Question

Study = Any  # of conftest.py, which nobody can import


def test_every_trial_becomes_a_run_below_one_parent(study: Study) -> None:
    study.run_blocks(0, 1)
    study.trial(2)
    collected = study.collect(note="# Answer")
    assert (collected.new, collected.updated, collected.unchanged) == (2, 0, 0)
    study.check()
    parent = study.runs()[""]
    assert parent.info.run_name == "my study"
    assert parent.info.status == "RUNNING"
    assert parent.data.tags["mlflow.note.content"] == "# Answer"
    assert parent.data.tags["thermolion.trials"] == "1 waiting, 2 completed"
    assert parent.data.metrics["final_test_accuracy/digits/adamw lr:0.001"] == 0.9
    with open_store(study.layout.root) as store:
        experiment = store.client.get_experiment(collected.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert experiment.tags["mlflow.note.content"] == "# Answer"


def test_repeating_adds_nothing(study: Study) -> None:
    study.run_blocks(0, 1)
    study.collect(note="n")
    before = study.content()
    again = study.collect(note="n")
    assert (again.new, again.updated, again.unchanged) == (0, 0, 2)
    assert study.content() == before


def test_unchanged_trials_cost_no_write(study: Study) -> None:
    study.run_blocks(*range(8))
    study.collect()
    before = (study.layout.root / "mlflow.db").read_bytes()
    assert study.collect().unchanged == 8
    assert (study.layout.root / "mlflow.db").read_bytes() == before
    assert not (study.layout.root / "mlflow.db-wal").exists()


def test_a_deleted_store_comes_back_with_equal_content(study: Study) -> None:
    study.run_blocks(0, 1)
    study.collect(note="n")
    before = study.content()
    for path in study.layout.root.glob("mlflow.db*"):
        path.unlink()
    shutil.rmtree(study.layout.mlflow_artifacts, ignore_errors=True)
    assert study.collect(note="n").new == 2
    assert study.content() == before


def test_a_trial_that_moves_on_grows_in_the_same_run(study: Study) -> None:
    trial, log = study.trial(), study.log()
    study.start(log, trial)
    study.evaluate(log, trial, 0, 5)
    assert study.collect().new == 1
    first = study.runs()[trial.id]
    assert (first.info.status, first.info.end_time) == ("RUNNING", None)
    study.evaluate(log, trial, 10)
    study.complete(log, trial)
    log.close()
    collected = study.collect()
    assert (collected.new, collected.updated) == (0, 1)
    last = study.runs()[trial.id]
    assert (last.info.run_id, last.info.status) == (first.info.run_id, "FINISHED")
    study.check()


def test_an_interrupted_trial_that_resumes_doubles_no_step(study: Study) -> None:
    trial, log = study.trial(), study.log()
    study.start(log, trial)
    study.evaluate(log, trial, 0, 5)
    log.append("interrupted", trial.id, step=5, error="signal")
    log.close()
    study.collect()
    stopped = study.runs()[trial.id]
    assert stopped.info.status == "KILLED"
    assert stopped.data.tags["mlflow.note.content"].startswith("**interrupted**")
    log = study.log()
    study.start(log, trial)
    study.evaluate(log, trial, 5)
    study.collect()
    assert study.runs()[trial.id].info.status == "RUNNING"
    study.evaluate(log, trial, 10)
    study.complete(log, trial)
    log.close()
    study.collect()
    study.check()
    run = study.runs()[trial.id]
    assert [step for step, *_ in study.history(run)["val_accuracy"]] == [0, 5, 10]
    assert run.data.tags["thermolion.attempts"] == "2"
    assert {"thermolion.error", "mlflow.note.content"}.isdisjoint(run.data.tags)


def test_a_failed_trial_that_is_retried_leaves_nothing_of_what_was_before(study: Study) -> None:
    trial, log = study.trial(0), study.log()
    study.start(log, trial)
    log.append("failed", trial.id, error="no CUDA", traceback="Traceback: no CUDA")
    log.close()
    study.run_blocks(1)
    study.collect()
    failed = study.runs()
    assert failed[trial.id].info.status == failed[""].info.status == "FAILED"
    assert "no CUDA" in failed[trial.id].data.tags["mlflow.note.content"]
    log = study.log()
    study.start(log, trial)
    study.evaluate(log, trial, 0, 5, 10)
    study.complete(log, trial, 0.5)
    log.close()
    study.collect()
    study.check()
    assert study.runs()[trial.id].info.run_id == failed[trial.id].info.run_id
    grown = study.content()
    (study.layout.root / "mlflow.db").unlink()
    study.collect()
    assert study.content() == grown


def test_a_diverged_trial_keeps_infinities_and_nan_and_stays_unchanged(study: Study) -> None:
    trial, log = study.trial(), study.log()
    study.start(log, trial)
    study.evaluate(log, trial, 0)
    study.evaluate(log, trial, 5, train_loss=math.inf, val_loss=-math.inf)
    study.evaluate(log, trial, 10, train_loss=math.nan)
    log.append("diverged", trial.id, step=10, train_seconds=1.0, metrics={}, error="loss is nan")
    log.close()
    study.collect()
    run = study.runs()[trial.id]
    assert run.data.tags["thermolion.state"] == "diverged"
    assert run.data.tags["thermolion.infinite"] == "train_loss, val_loss"
    assert run.info.status == "FINISHED"
    losses = [value for *_, value in study.history(run)["train_loss"]]
    assert losses == ["1.0", repr(sys.float_info.max), "nan"]
    study.check()
    assert study.collect().unchanged == 1


def test_infinities_of_a_running_trial_are_not_sent_twice(study: Study) -> None:
    trial, log = study.trial(), study.log()
    study.start(log, trial)
    study.evaluate(log, trial, 0, train_loss=math.inf, val_loss=math.nan)
    study.collect()
    study.evaluate(log, trial, 5)
    log.close()
    run = study.runs()[trial.id]
    assert study.collect().updated == 1
    assert study.runs()[trial.id].info.run_id == run.info.run_id
    study.check()


def test_a_renamed_candidate_renames_its_run(study: Study) -> None:
    study.run_blocks(0)
    study.collect()
    before = study.runs()[study.trials[0].id]
    study.trials = []
    trial = study.trial(0, name="ours")
    assert trial.id == before.data.tags["thermolion.trial"]
    assert study.collect().updated == 1
    run = study.runs()[trial.id]
    assert run.info.run_id == before.info.run_id
    assert run.info.run_name == "digits · ours · block 0"


def test_more_than_one_request_can_hold_is_sent_in_several(study: Study) -> None:
    hyper = {f"layer[{n}]=lr": n / 10 for n in range(130)} | {"long": "x" * 7000}
    trial, log = study.trial(**hyper), study.log()
    study.start(log, trial)
    study.evaluate(log, trial, *range(250), **{f"extra[{n}]": float(n) for n in range(4)})
    study.complete(log, trial)
    log.close()
    study.collect()
    run = study.runs()[trial.id]
    assert len(run.data.params) > 130
    assert len(run.data.params["long"]) == 6000
    assert sum(map(len, study.history(run).values())) > 1700
    study.check()
    assert study.collect().unchanged == 1


def test_the_report_becomes_artifacts_of_the_parent_once(study: Study) -> None:
    study.run_blocks(0)
    report = study.layout.report
    (report / "figures").mkdir(parents=True)
    (report / "report.html").write_text("<p>answer</p>")
    (report / "figures" / "a.svg").write_text("<svg/>")
    study.collect(report=report)
    with open_store(study.layout.root) as store:
        run_id = study.runs()[""].info.run_id
        names = {one.path for one in store.client.list_artifacts(run_id)}
    assert names == {"report.html", "figures"}
    stored = next(study.layout.mlflow_artifacts.rglob("report.html"))
    stored.write_text("untouched")
    study.collect(report=report)
    assert stored.read_text() == "untouched"
    (report / "report.html").write_text("<p>new answer</p>")
    study.collect(report=report)
    assert stored.read_text() == "<p>new answer</p>"


def test_a_study_that_has_not_started_has_an_experiment_without_runs(study: Study) -> None:
    study.trial()
    study.layout.events.mkdir()
    collected = study.collect()
    assert collected.new == collected.unchanged == 0
    assert study.runs() == {}


def test_the_result_can_be_printed_as_json(study: Study) -> None:
    study.run_blocks(0)
    assert json.loads(json.dumps(asdict(study.collect())))["new"] == 1


def test_the_verdicts_are_metrics_and_tags_of_the_parent_and_give_way_to_later_ones(
    study: Study, arms: Any
) -> None:
    study.run_blocks(0, 1)
    asked = [Question("thermolion", "adamw")]
    seen = [compare("s", arms("digits", [0.95] * n, [0.9, 0.8, 0.85][:n]), asked) for n in (2, 3)]
    assert study.collect(comparison=seen[0]).new == 2
    ids = []
    for found in (seen[0], seen[1], seen[1]):
        study.collect(comparison=found)
        study.check()
        parent = study.runs()[""]
        one = found.pooled[0]
        key = "final_test_accuracy/thermolion vs adamw"
        assert parent.data.metrics[f"difference/{key}"] == one.estimate.mean
        assert f"p_adjusted/{key}" not in parent.data.metrics  # so few seeds are not tested
        word = parent.data.tags[f"thermolion.verdict/{key}"]
        assert word == f"{one.verdict} (too few seeds) (exploratory)"
        assert len(study.history(parent)[f"difference/{key}"]) == 1
        ids.append(parent.info.run_id)
    assert ids[1] == ids[2]
