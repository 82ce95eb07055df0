"""Two ways to learn what a store has, of which nobody may tell which was taken."""

import contextlib
import sqlite3
from typing import Any

from tracking.mlflow_store.runs import all_runs, run_of
from tracking.mlflow_store.store import open_store

Study = Any  # of conftest.py, which nobody can import


def test_the_tables_of_a_store_say_what_its_search_says(study: Study) -> None:
    study.run_blocks(0, 1, 2)
    log, trial = study.log(), study.trial(0, "it's new", lr=0.5)
    study.start(log, trial)
    log.close()
    collected = study.collect()
    with open_store(study.layout.root) as store:
        store.client.create_run(collected.experiment_id, tags={"mine": "x"})
        gone = store.client.create_run(collected.experiment_id, tags={"thermolion.trial": "t"})
        store.client.delete_run(gone.info.run_id)
        searched = all_runs(store.client, collected.experiment_id, None)
        read = all_runs(store.client, collected.experiment_id, study.layout.mlflow_store)
        assert len(read) == 7  # four trials, two cells, the study
        assert {run.run_id: run for run in read} == {run.run_id: run for run in searched}
        for run in read:
            assert run_of(store.client, collected.experiment_id, run.name) == [run]


def test_the_tables_of_the_pinned_version_are_read_without_its_search(study: Study) -> None:
    study.run_blocks(0)
    experiment = study.collect().experiment_id
    nobody: Any = None  # no client that could be asked
    assert len(all_runs(nobody, experiment, study.layout.mlflow_store)) == 3


def test_a_store_of_an_unknown_schema_is_asked_and_answers_the_same(study: Study) -> None:
    study.run_blocks(0, 1)
    experiment = study.collect().experiment_id
    database = study.layout.mlflow_store
    with open_store(study.layout.root) as store:
        expected = all_runs(store.client, experiment, database)
        assert len(expected) == 4  # two trials, the cell, the study
        # What its tables hold may mean anything, and is not looked at.
        changes = ("UPDATE alembic_version SET version_num = '123456789abc'", "DELETE FROM tags")
        for number, alembic in enumerate((changes[0], "DROP TABLE alembic_version")):
            other = study.layout.root / f"other{number}.db"
            with (
                contextlib.closing(sqlite3.connect(database)) as ours,
                contextlib.closing(sqlite3.connect(other)) as connection,
            ):
                ours.backup(connection)
                connection.execute(alembic)
                connection.execute(changes[1])
                connection.commit()
            assert all_runs(store.client, experiment, other) == expected


def test_a_cell_that_the_sweep_has_no_more_goes_and_its_trials_move(study: Study) -> None:
    study.run_blocks(0)
    collected = study.collect()
    with open_store(study.layout.root) as store:
        tags = {"thermolion.cell": "of an earlier version"}
        store.client.create_run(collected.experiment_id, tags=tags)
    study.collect()
    assert len(study.runs()) == 3
    study.check()
