"""Stores that cannot be written: one clear error each, and nothing is sent or broken."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.db_migrations import versions

from tracking.mlflow_store.collect import CollectError

Study = Any  # of conftest.py, which nobody can import


def _set_schema(study: Study, revision: str) -> str:
    """Return what it was."""
    with contextlib.closing(sqlite3.connect(study.layout.mlflow_store)) as connection:
        (was,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()
    return str(was)


def test_a_store_of_a_newer_mlflow_asks_for_that_version(study: Study) -> None:
    study.run_blocks(0)
    was = _set_schema(study, "fedcba987654")
    with pytest.raises(CollectError) as told:
        study.collect()
    for part in ("newer MLflow (schema fedcba987654", "--upgrade mlflow", "Nothing was sent"):
        assert part in str(told.value)
    assert "db upgrade" not in str(told.value)
    _set_schema(study, was)
    assert study.collect().new == 1


def test_a_store_of_an_older_mlflow_asks_to_be_upgraded(study: Study) -> None:
    study.run_blocks(0)
    steps = Path(next(iter(versions.__path__)))
    _set_schema(study, min(path.name for path in steps.glob("*_*.py")).partition("_")[0])
    with pytest.raises(CollectError, match=r"older MLflow.*mlflow db upgrade sqlite:///"):
        study.collect()


def test_a_file_that_is_no_store_is_said(study: Study) -> None:
    study.run_blocks(0)
    study.layout.mlflow_store.write_text("not a database, but a letter to somebody " * 20)
    with pytest.raises(CollectError, match=r"mlflow\.db: .*not a database"):
        study.collect()


@contextlib.contextmanager
def _as_nobody(study: Study) -> Iterator[None]:
    """Make the store somebody else's; root, who may write everything, turns into nobody."""
    study.layout.mlflow_store.chmod(0o444)
    study.layout.root.chmod(0o555)
    nobody = 65534
    if is_root := os.geteuid() == 0:
        for path in (study.layout.folder, study.layout.events):
            os.chown(path, nobody, nobody)
        for folder in study.layout.root.parents:
            if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
                folder.chmod(0o711)
        os.seteuid(nobody)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        study.layout.root.chmod(0o755)
        study.layout.mlflow_store.chmod(0o644)


def test_a_store_that_one_may_not_write_names_its_owner(study: Study) -> None:
    study.run_blocks(0)
    assert study.collect().new == 1
    study.run_blocks(1)
    before = study.layout.mlflow_store.read_bytes()
    with _as_nobody(study), pytest.raises(CollectError) as told:
        study.collect()
    owner = study.layout.mlflow_store.owner()
    for part in ("mlflow.db may not be written by you", f"let {owner}", "--mlflow"):
        assert part in str(told.value)
    assert study.layout.mlflow_store.read_bytes() == before
    assert not (study.layout.folder / "collect.lock").exists()
    assert study.collect().new == 1
