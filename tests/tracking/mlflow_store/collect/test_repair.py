"""Collecting into a store that somebody left half done or has changed by hand."""

from typing import Any

import pytest

from tracking.mlflow_store.collect import CollectError
from tracking.mlflow_store.store import open_store

Study = Any  # of conftest.py, which nobody can import


def test_a_collection_that_dies_midway_is_completed_by_the_next(study: Study) -> None:
    study.run_blocks(0, 1, 2)

    def die(done: int, total: int) -> None:
        assert total == 3
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        study.collect(progress=die)
    assert len(study.runs()) == 4
    seen: list[tuple[int, int]] = []
    collected = study.collect(progress=lambda done, total: seen.append((done, total)))
    assert (collected.new, collected.unchanged) == (1, 2)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    study.check()


def test_a_run_that_was_left_half_sent_is_completed(study: Study) -> None:
    from mlflow.entities import Metric

    study.run_blocks(0, 1)
    study.collect(note="n")
    whole = study.content()
    for run in study.runs().values():
        name = run.data.tags.get("thermolion.trial")
        if name is None:
            continue
        points = study.history(run)["val_accuracy"][:2]
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
    assert study.content() == whole


def test_a_run_that_a_user_deleted_is_made_anew(study: Study) -> None:
    study.run_blocks(0, 1)
    study.collect()
    gone = study.runs()[study.trials[0].id].info.run_id
    with open_store(study.layout.root) as store:
        store.client.delete_run(gone)
    collected = study.collect()
    assert (collected.new, collected.unchanged) == (1, 1)
    assert study.runs()[study.trials[0].id].info.run_id != gone
    study.check()


@pytest.mark.parametrize(("name", "moved"), [("", 0), ("cell digits · adamw[lr=0.001]", 2)])
def test_a_deleted_parent_is_made_anew_and_what_was_below_it_moves(
    study: Study, name: str, moved: int
) -> None:
    study.run_blocks(0, 1)
    study.collect()
    with open_store(study.layout.root) as store:
        store.client.delete_run(study.runs()[name].info.run_id)
    assert study.collect().updated == moved
    study.check()


def test_a_deleted_experiment_is_said_with_the_ways_out_and_comes_back_if_asked(
    study: Study,
) -> None:
    study.run_blocks(0)
    collected = study.collect()
    before = study.content()
    with open_store(study.layout.root) as store:
        store.client.delete_experiment(collected.experiment_id)
    with pytest.raises(CollectError) as told:
        study.collect()
    uri = f"sqlite:///{study.layout.mlflow_store}"
    purge = f"mlflow gc --experiment-ids {collected.experiment_id} --backend-store-uri {uri}"
    for part in ("'my study' was deleted", "--restore", purge, "--mlflow", "Nothing was sent"):
        assert part in str(told.value)
    study.collect(restore=True)
    assert study.content() == before
    study.check()


def test_a_second_run_of_one_trial_is_removed(study: Study) -> None:
    study.run_blocks(0)
    collected = study.collect()
    with open_store(study.layout.root) as store:
        tags = {"thermolion.trial": study.trials[0].id}
        store.client.create_run(collected.experiment_id, tags=tags)
    study.collect()
    study.check()


def test_a_run_that_cannot_become_the_record_is_replaced(study: Study) -> None:
    study.run_blocks(0)
    study.collect()
    run = study.runs()[study.trials[0].id]
    with open_store(study.layout.root) as store:
        store.client.log_metric(run.info.run_id, "val_accuracy", 0.77, step=5)
        store.client.delete_tag(run.info.run_id, "thermolion.fingerprint")
    assert study.collect().updated == 1
    assert study.runs()[study.trials[0].id].info.run_id != run.info.run_id
    study.check()


def test_what_a_user_adds_to_a_run_stays(study: Study) -> None:
    trial, log = study.trial(), study.log()
    study.start(log, trial)
    study.evaluate(log, trial, 0)
    study.collect()
    run_id = study.runs()[trial.id].info.run_id
    with open_store(study.layout.root) as store:
        store.client.set_tag(run_id, "mine", "look at this")
        store.client.set_tag(run_id, "mlflow.note.content", "my note")
        store.client.log_metric(run_id, "my_metric", 1.0)
    study.complete(log, trial)
    log.close()
    study.collect()
    run = study.runs()[trial.id]
    assert run.info.run_id == run_id
    assert (run.data.tags["mine"], run.data.tags["mlflow.note.content"]) == (
        "look at this",
        "my note",
    )
    assert run.data.metrics["my_metric"] == 1.0
