"""Collecting against a real store: events in through the log, runs out through the client."""

import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from jobs.events import EventLog
from jobs.layout import Layout
from jobs.lock import Lock, LockHeld
from jobs.trial import Candidate, Trial, Workload, block_seeds
from tracking.browse import trial_record
from tracking.collect import Collected, CollectError, collect
from tracking.outcomes import Outcome, read_outcomes
from tracking.store import open_store

_WORKLOAD = Workload("digits", "digits", "convnet", epochs=3, global_batch=64)


class Study:
    """A study on disk whose logs a test writes; every log is one attempt."""

    def __init__(self, root: Path, name: str = "my study") -> None:
        self.layout = Layout(root, name)
        self.layout.folder.mkdir(parents=True, exist_ok=True)
        self.trials: list[Trial] = []
        self._attempts = 0

    def trial(self, block: int = 0, name: str = "adamw[lr=0.001]", **hyper: Any) -> Trial:
        candidate = Candidate(name, "adamw", hyper or {"lr": 0.001})
        seeds = block_seeds(0, "compare", _WORKLOAD, block)
        self.trials.append(Trial(_WORKLOAD, candidate, "compare", block, seeds))
        return self.trials[-1]

    def log(self) -> EventLog:
        path = self.layout.event_log("s1", 0, self._attempts, 0)
        log = EventLog(path, self._attempts, free_bytes=0)
        log.append(
            "opened", submission="s1", pack=0, lane=0, host="node1", device="cpu", code="c0"
        )
        self._attempts += 1
        return log

    def outcomes(self) -> list[Outcome]:
        return list(read_outcomes(self.layout.events, self.trials).values())

    def collect(self, **options: Any) -> Collected:
        return collect(self.layout, self.outcomes(), **options)

    def complete(self, *blocks: int) -> None:
        log = self.log()
        for block in blocks:
            trial = self.trial(block)
            start(log, trial)
            evaluate(log, trial, 0, 5, 10)
            complete(log, trial, 0.9)
        log.close()


def start(log: EventLog, trial: Trial) -> None:
    log.append(
        "started",
        trial.id,
        config=trial.to_json(),
        token="t",
        steps=10,
        steps_per_epoch=5,
        chance={"test_accuracy": 0.1, "val_accuracy": 0.1},
        digests={"data": "d", "split": "s"},
    )


def evaluate(log: EventLog, trial: Trial, *steps: int, **metrics: float) -> None:
    for step in steps:
        values = {"val_accuracy": step / 20, "train_loss": 1 - step / 20} | metrics
        log.append(
            "evaluated",
            trial.id,
            step=step,
            epoch=step / 5,
            samples=64 * step,
            train_seconds=step / 10,
            metrics=values,
        )


def complete(log: EventLog, trial: Trial, accuracy: float) -> None:
    metrics = {"test_accuracy": accuracy}
    log.append("completed", trial.id, step=10, train_seconds=1.0, metrics=metrics)


def runs(study: Study) -> dict[str, Any]:
    """Return active runs by trial id, the parent as ""; two runs of one trial fail."""
    with open_store(study.layout.root) as store:
        experiment = store.client.get_experiment_by_name(study.layout.study)
        assert experiment is not None
        found = store.client.search_runs([experiment.experiment_id], max_results=5000)
    names = [run.data.tags.get("thermolion.trial", "") for run in found]
    assert len(names) == len(set(names))
    return dict(zip(names, found, strict=True))


def history(study: Study, run: Any) -> dict[str, list[tuple[int, int, str]]]:
    with open_store(study.layout.root) as store:
        return {
            key: sorted(
                (one.step, one.timestamp, repr(one.value))
                for one in store.client.get_metric_history(run.info.run_id, key)
            )
            for key in run.data.metrics
        }


def content(study: Study) -> dict[str, Any]:
    """Return all that a store says of a study, run ids aside."""
    return {
        name: (
            run.info.run_name,
            run.info.status,
            run.info.start_time,
            run.info.end_time,
            {k: v for k, v in run.data.tags.items() if k != "mlflow.parentRunId"},
            run.data.params,
            history(study, run),
        )
        for name, run in runs(study).items()
    }


def recorded(study: Study) -> None:
    """Check that the store says exactly what the records say."""
    found = runs(study)
    for outcome in study.outcomes():
        if outcome.started_ms is None:
            assert outcome.trial.id not in found
            continue
        record = trial_record(outcome, study.layout.study)
        run = found[outcome.trial.id]
        expected: dict[str, list[tuple[int, int, str]]] = {}
        for one in record.metrics:
            expected.setdefault(one.key, []).append((one.step, one.time_ms, repr(one.value)))
        assert history(study, run) == {key: sorted(points) for key, points in expected.items()}
        assert run.data.params == record.params
        assert run.data.tags.items() >= record.tags.items()
        assert run.info.status == record.status
        assert run.data.tags["mlflow.parentRunId"] == found[""].info.run_id


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without studies: to make one takes seconds, to copy it nothing."""
    root = tmp_path_factory.mktemp("template")
    with open_store(root, f"sqlite:///{root}/mlflow.db"):
        pass
    return root / "mlflow.db"


@pytest.fixture
def study(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "a root"
    root.mkdir()
    shutil.copy(empty_store, root / "mlflow.db")
    return Study(root)


def test_every_trial_becomes_a_run_below_one_parent(study: Study) -> None:
    study.complete(0, 1)
    study.trial(2)
    collected = study.collect(note="# Answer")
    assert (collected.new, collected.updated, collected.unchanged) == (2, 0, 0)
    recorded(study)
    parent = runs(study)[""]
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
    study.complete(0, 1)
    study.collect(note="n")
    before = content(study)
    again = study.collect(note="n")
    assert (again.new, again.updated, again.unchanged) == (0, 0, 2)
    assert content(study) == before


def test_two_hundred_unchanged_trials_cost_one_search(study: Study) -> None:
    study.complete(*range(8))
    study.collect()
    with open_store(study.layout.root) as store:
        before = (study.layout.root / "mlflow.db").read_bytes()
        study.collect()
        assert store.database is not None
        assert (study.layout.root / "mlflow.db").read_bytes() == before


def test_a_deleted_store_comes_back_with_equal_content(study: Study, empty_store: Path) -> None:
    study.complete(0, 1)
    study.collect(note="n")
    before = content(study)
    for path in study.layout.root.glob("mlflow.db*"):
        path.unlink()
    shutil.rmtree(study.layout.mlflow_artifacts, ignore_errors=True)
    assert study.collect(note="n").new == 2
    assert content(study) == before


def test_a_trial_that_moves_on_grows_in_the_same_run(study: Study) -> None:
    trial, log = study.trial(), study.log()
    start(log, trial)
    evaluate(log, trial, 0, 5)
    assert study.collect().new == 1
    first = runs(study)[trial.id]
    assert (first.info.status, first.info.end_time) == ("RUNNING", None)
    evaluate(log, trial, 10)
    complete(log, trial, 0.9)
    log.close()
    collected = study.collect()
    assert (collected.new, collected.updated) == (0, 1)
    last = runs(study)[trial.id]
    assert (last.info.run_id, last.info.status) == (first.info.run_id, "FINISHED")
    recorded(study)


def test_an_interrupted_trial_that_resumes_doubles_no_step(study: Study) -> None:
    trial, log = study.trial(), study.log()
    start(log, trial)
    evaluate(log, trial, 0, 5)
    log.append("interrupted", trial.id, step=5, error="signal")
    log.close()
    study.collect()
    stopped = runs(study)[trial.id]
    assert stopped.info.status == "KILLED"
    assert stopped.data.tags["mlflow.note.content"].startswith("**interrupted**")
    log = study.log()
    start(log, trial)
    evaluate(log, trial, 5)
    study.collect()
    assert runs(study)[trial.id].info.status == "RUNNING"
    evaluate(log, trial, 10)
    complete(log, trial, 0.9)
    log.close()
    study.collect()
    recorded(study)
    run = runs(study)[trial.id]
    assert [step for step, *_ in history(study, run)["val_accuracy"]] == [0, 5, 10]
    assert run.data.tags["thermolion.attempts"] == "2"
    assert {"thermolion.error", "mlflow.note.content"}.isdisjoint(run.data.tags)


def test_a_diverged_trial_keeps_infinities_and_nan_and_stays_unchanged(study: Study) -> None:
    trial, log = study.trial(), study.log()
    start(log, trial)
    evaluate(log, trial, 0)
    evaluate(log, trial, 5, train_loss=math.inf, val_loss=-math.inf)
    evaluate(log, trial, 10, train_loss=math.nan)
    log.append("diverged", trial.id, step=10, train_seconds=1.0, metrics={}, error="loss is nan")
    log.close()
    study.collect()
    run = runs(study)[trial.id]
    assert run.data.tags["thermolion.state"] == "diverged"
    assert run.data.tags["thermolion.infinite"] == "train_loss, val_loss"
    assert run.info.status == "FINISHED"
    losses = [value for *_, value in history(study, run)["train_loss"]]
    assert losses == ["1.0", repr(sys.float_info.max), "nan"]
    recorded(study)
    assert study.collect().unchanged == 1


def test_infinities_of_a_running_trial_are_not_sent_twice(study: Study) -> None:
    trial, log = study.trial(), study.log()
    start(log, trial)
    evaluate(log, trial, 0, train_loss=math.inf, val_loss=math.nan)
    study.collect()
    evaluate(log, trial, 5)
    log.close()
    run = runs(study)[trial.id]
    assert study.collect().updated == 1
    assert runs(study)[trial.id].info.run_id == run.info.run_id
    recorded(study)


class Killed(Exception):
    pass


def test_a_collection_that_dies_midway_is_completed_by_the_next(study: Study) -> None:
    study.complete(0, 1, 2)

    def die(done: int, total: int) -> None:
        assert total == 3
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        study.collect(progress=die)
    assert len(runs(study)) == 3
    seen: list[tuple[int, int]] = []
    collected = study.collect(progress=lambda done, total: seen.append((done, total)))
    assert (collected.new, collected.unchanged) == (1, 2)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    recorded(study)


def test_a_run_that_was_left_half_sent_is_completed(study: Study) -> None:
    from mlflow.entities import Metric

    study.complete(0, 1)
    study.collect(note="n")
    whole = content(study)
    for run in runs(study).values():
        name = run.data.tags.get("thermolion.trial")
        if name is None:
            continue
        points = history(study, run)["val_accuracy"][:2]
        with open_store(study.layout.root) as store:
            store.client.delete_run(run.info.run_id)
            half = store.client.create_run(
                run.info.experiment_id,
                start_time=run.info.start_time,
                tags={"thermolion.trial": name, "mlflow.user": run.data.tags["mlflow.user"]},
            )
            metrics = [Metric("val_accuracy", float(v), time_ms, s) for s, time_ms, v in points]
            store.client.log_batch(half.info.run_id, metrics=metrics)
    assert study.collect(note="n").updated == 2
    assert content(study) == whole


def test_a_run_that_a_user_deleted_is_made_anew(study: Study) -> None:
    study.complete(0, 1)
    study.collect()
    gone = runs(study)[study.trials[0].id].info.run_id
    with open_store(study.layout.root) as store:
        store.client.delete_run(gone)
    collected = study.collect()
    assert (collected.new, collected.unchanged) == (1, 1)
    assert runs(study)[study.trials[0].id].info.run_id != gone
    recorded(study)


def test_a_deleted_parent_is_made_anew_and_its_trials_move_below_it(study: Study) -> None:
    study.complete(0, 1)
    study.collect()
    with open_store(study.layout.root) as store:
        store.client.delete_run(runs(study)[""].info.run_id)
    assert study.collect().updated == 2
    recorded(study)


def test_a_deleted_experiment_comes_back(study: Study) -> None:
    study.complete(0)
    collected = study.collect()
    with open_store(study.layout.root) as store:
        store.client.delete_experiment(collected.experiment_id)
    study.collect()
    recorded(study)


def test_a_second_run_of_one_trial_is_removed(study: Study) -> None:
    study.complete(0)
    collected = study.collect()
    with open_store(study.layout.root) as store:
        tags = {"thermolion.trial": study.trials[0].id}
        store.client.create_run(collected.experiment_id, tags=tags)
    study.collect()
    recorded(study)


def test_a_run_that_cannot_become_the_record_is_replaced(study: Study) -> None:
    study.complete(0)
    study.collect()
    run = runs(study)[study.trials[0].id]
    with open_store(study.layout.root) as store:
        store.client.log_metric(run.info.run_id, "val_accuracy", 0.77, step=5)
        store.client.delete_tag(run.info.run_id, "thermolion.fingerprint")
    assert study.collect().updated == 1
    assert runs(study)[study.trials[0].id].info.run_id != run.info.run_id
    recorded(study)


def test_what_a_user_adds_to_a_run_stays(study: Study) -> None:
    trial, log = study.trial(), study.log()
    start(log, trial)
    evaluate(log, trial, 0)
    study.collect()
    run_id = runs(study)[trial.id].info.run_id
    with open_store(study.layout.root) as store:
        store.client.set_tag(run_id, "mine", "look at this")
        store.client.set_tag(run_id, "mlflow.note.content", "my note")
        store.client.log_metric(run_id, "my_metric", 1.0)
    complete(log, trial, 0.9)
    log.close()
    study.collect()
    run = runs(study)[trial.id]
    assert run.info.run_id == run_id
    assert (run.data.tags["mine"], run.data.tags["mlflow.note.content"]) == (
        "look at this",
        "my note",
    )
    assert run.data.metrics["my_metric"] == 1.0


def test_a_renamed_candidate_renames_its_run(study: Study) -> None:
    study.complete(0)
    study.collect()
    before = runs(study)[study.trials[0].id]
    study.trials = []
    trial = study.trial(0, name="ours")
    assert trial.id == before.data.tags["thermolion.trial"]
    assert study.collect().updated == 1
    run = runs(study)[trial.id]
    assert run.info.run_id == before.info.run_id
    assert run.info.run_name == "digits · ours · block 0"


def test_more_than_one_request_can_hold_is_sent_in_several(study: Study) -> None:
    hyper = {f"layer[{n}]=lr": n / 10 for n in range(130)} | {"long": "x" * 7000}
    trial, log = study.trial(**hyper), study.log()
    start(log, trial)
    evaluate(log, trial, *range(250), **{f"extra[{n}]": float(n) for n in range(4)})
    complete(log, trial, 0.9)
    log.close()
    study.collect()
    run = runs(study)[trial.id]
    assert len(run.data.params) > 130
    assert len(run.data.params["long"]) == 6000
    assert sum(map(len, history(study, run).values())) > 1700
    recorded(study)
    assert study.collect().unchanged == 1


def test_the_report_becomes_artifacts_of_the_parent_once(study: Study) -> None:
    study.complete(0)
    report = study.layout.report
    (report / "figures").mkdir(parents=True)
    (report / "report.html").write_text("<p>answer</p>")
    (report / "figures" / "a.svg").write_text("<svg/>")
    study.collect(report=report)
    with open_store(study.layout.root) as store:
        run_id = runs(study)[""].info.run_id
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
    assert runs(study) == {}


def test_one_process_at_a_time_collects(study: Study) -> None:
    study.complete(0)
    with (
        Lock(study.layout.folder / "collect.lock"),
        pytest.raises(LockHeld, match=f"pid {os.getpid()}.*--break-lock"),
    ):
        study.collect()
    assert study.collect().new == 1


_COLLECT = """
import sys, time
from pathlib import Path
from jobs.layout import Layout
from jobs.lock import LockHeld
from tracking.collect import collect
from tracking.outcomes import read_outcomes
layout = Layout(Path(sys.argv[1]), sys.argv[2])
while True:
    try:
        collect(layout, list(read_outcomes(layout.events).values()))
        break
    except LockHeld:
        time.sleep(0.05)
"""


def test_processes_that_collect_at_once_make_one_run_a_trial(study: Study) -> None:
    study.complete(*range(6))
    other = Study(study.layout.root, "other study")
    other.complete(*range(6))
    processes = [
        subprocess.Popen([sys.executable, "-c", _COLLECT, str(study.layout.root), name])
        for name in ("my study", "my study", "other study")
    ]
    assert [one.wait(timeout=120) for one in processes] == [0, 0, 0]
    for each in (study, other):
        assert len(runs(each)) == 7
        recorded(each)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        yield listener.getsockname()[1]


def _logs(study: Study) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in study.layout.events.iterdir()}


def test_an_unreachable_server_is_said_clearly_and_costs_nothing(study: Study) -> None:
    study.complete(0, 1)
    logs, began = _logs(study), time.monotonic()
    with pytest.raises(CollectError) as told:
        study.collect(uri="http://me:secret@127.0.0.1:9")
    assert time.monotonic() - began < 30
    for part in ("http://me:***@127.0.0.1:9", "0 of 2 trials", "untouched", "collect again"):
        assert part in str(told.value)
    assert "secret" not in str(told.value)
    assert _logs(study) == logs
    assert not (study.layout.folder / "collect.lock").exists()


def test_a_silent_server_is_given_up_on_soon(
    study: Study, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    study.complete(0)
    began = time.monotonic()
    with pytest.raises(CollectError, match="timed out"):
        study.collect(uri=f"http://127.0.0.1:{silent_port}")
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("uri", ["nonsense", "htp://x", "file:///nowhere"])
def test_an_address_that_is_none_is_named(study: Study, uri: str) -> None:
    study.complete(0)
    with pytest.raises(CollectError, match="nonsense|htp|file"):
        study.collect(uri=uri)


def test_a_store_in_the_environment_is_used(
    study: Study, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    shutil.copy(empty_store, elsewhere)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    study.complete(0)
    assert study.collect().uri == f"sqlite:///{elsewhere}"
    assert len(runs(study)) == 2


def test_the_result_can_be_printed_as_json(study: Study) -> None:
    from dataclasses import asdict

    study.complete(0)
    assert json.loads(json.dumps(asdict(study.collect())))["new"] == 1
