"""Collecting when another does so too, and when MLflow is not there."""

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

from jobs.contract.lock import Lock, LockHeld
from tracking.mlflow_store.collect import CollectError

Study = Any  # of conftest.py, which nobody can import


def test_one_process_at_a_time_collects(study: Study) -> None:
    study.run_blocks(0)
    with (
        Lock(study.layout.folder / "collect.lock"),
        pytest.raises(LockHeld, match=f"pid {os.getpid()}.*--break-lock"),
    ):
        study.collect()
    assert study.collect().new == 1


_COLLECT = """
import sys, time
from pathlib import Path
from jobs.contract.layout import Layout
from jobs.contract.lock import LockHeld
from tracking.mlflow_store.collect import Collector
from tracking.outcomes import read_outcomes
layout = Layout(Path(sys.argv[1]), sys.argv[2])
while True:
    try:
        Collector(layout).collect(list(read_outcomes(layout.events).values()))
        break
    except LockHeld:
        time.sleep(0.05)
"""


def test_processes_that_collect_at_once_make_one_run_a_trial(study: Study) -> None:
    study.run_blocks(*range(6))
    other = study.another("other study")
    other.run_blocks(*range(6))
    processes = [
        subprocess.Popen([sys.executable, "-c", _COLLECT, str(study.layout.root), name])
        for name in ("my study", "my study", "other study")
    ]
    assert [one.wait(timeout=120) for one in processes] == [0, 0, 0]
    for each in (study, other):
        assert len(each.runs()) == 8
        each.check()


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
    study.run_blocks(0, 1)
    logs, began = _logs(study), time.monotonic()
    with pytest.raises(CollectError) as told:
        study.collect(uri="http://me:secret@127.0.0.1:9/")
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
    study.run_blocks(0)
    began = time.monotonic()
    with pytest.raises(CollectError, match="timed out"):
        study.collect(uri=f"http://127.0.0.1:{silent_port}")
    assert time.monotonic() - began < 15
    assert study.collect().new == 1
    study.check()


@pytest.mark.parametrize("uri", ["nonsense", "htp://x", "file:///nowhere", "sqlite://two/slashes"])
def test_an_address_that_is_none_is_named_with_what_is_one(study: Study, uri: str) -> None:
    study.run_blocks(0)
    with pytest.raises(CollectError) as told:
        study.collect(uri=uri)
    for part in (uri, "sqlite:////FOLDER/mlflow.db", "http://HOST:PORT", "Nothing was sent"):
        assert part in str(told.value)


def test_a_store_in_the_environment_is_used(
    study: Study, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    shutil.copy(empty_store, elsewhere)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    study.run_blocks(0)
    assert study.collect().uri == f"sqlite:///{elsewhere}"
    assert len(study.runs()) == 3
