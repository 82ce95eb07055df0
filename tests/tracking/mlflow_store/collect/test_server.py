"""A real MLflow server, as `ui` starts it, without its password."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tracking.mlflow_store.collect import CollectError, Collector
from tracking.mlflow_store.store import open_store

Study = Any  # of conftest.py, which nobody can import

_SERVE = """
import sys
from pathlib import Path
from tracking.mlflow_store.server import serve
port = int(sys.argv[2]) if len(sys.argv) > 2 else None
with serve(Path(sys.argv[1]), port=port, password=False) as server:
    print(server.pages.base, flush=True)
    server.wait()
"""


class Served:
    """A server on the store of a root, in a process that owns it, as a terminal does."""

    def __init__(self, root: Path, *port: str) -> None:
        self._owner = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(root), *port], stdout=subprocess.PIPE, text=True
        )
        assert self._owner.stdout is not None
        self.uri = self._owner.stdout.readline().strip()
        assert self.uri, "the server does not come up"

    def read(self, path: str) -> str:
        """Return a page."""
        with urllib.request.urlopen(self.uri + path, timeout=60) as answer:
            return str(answer.read().decode())

    def strike(self, number: signal.Signals) -> None:
        """Send a signal to every process of the server."""
        pid = self._owner.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.killpg(int(child), number)

    def end(self) -> None:
        """Kill the owner, which has no time to clean up, and wait for the server to be gone."""
        if self._owner.returncode is not None:
            return
        self._owner.kill()
        self._owner.communicate()
        until = time.monotonic() + 60
        while _answers(self.uri):
            assert time.monotonic() < until, "the server outlives its owner"
            time.sleep(0.1)


def _answers(uri: str) -> bool:
    try:
        urllib.request.urlopen(f"{uri}/health", timeout=10).close()
    except OSError:
        return False
    return True


@pytest.fixture
def server(study: Study) -> Iterator[Served]:
    served = Served(study.layout.root)
    yield served
    served.end()


def test_the_pages_show_the_study_and_takes_what_is_collected_through_it(
    study: Study, server: Served, chromium: Callable[..., str]
) -> None:
    study.run_blocks(0, 1)
    study.layout.report.mkdir()
    (study.layout.report / "report.html").write_text("<p>answer</p>")
    found = study.collect(report=study.layout.report, note="The answer is **undecided**.")
    run = study.runs()[study.trials[0].id].info.run_id
    parent = study.runs()[""].info.run_id
    assert "adamw[lr=0.001]" in server.read(f"/api/2.0/mlflow/runs/get?run_id={run}")
    assert "report.html" in server.read(f"/api/2.0/mlflow/artifacts/list?run_id={parent}")
    page = f"{server.uri}/#/experiments/{found.experiment_id}/runs/{parent}"
    seen = chromium("--virtual-time-budget=30000", "--dump-dom", page)
    assert "The answer is <strong>undecided</strong>." in seen
    assert "digits · adamw[lr=0.001]" in seen  # the run below

    study.check(server.uri)
    again = study.collect(
        uri=server.uri, report=study.layout.report, note="The answer is **undecided**."
    )
    assert (again.new, again.unchanged) == (0, 2)

    other = study.another("other study")
    other.run_blocks(*range(4))
    with pytest.raises(CollectError, match=r"\n[23] of 4 trials"):  # it may answer once more
        other.collect(uri=server.uri, progress=lambda done, _: server.end() if done == 2 else None)
    collected = other.collect()
    assert collected.unchanged >= 2
    assert collected.new + collected.updated + collected.unchanged == 4
    other.check()


def test_a_parent_that_is_deleted_while_one_follows_is_made_anew(
    study: Study, server: Served
) -> None:
    study.run_blocks(0, 1)
    collector = Collector(study.layout, server.uri)
    collector.collect(study.outcomes())
    for name in ("", "cell digits · adamw[lr=0.001]"):
        with open_store(study.layout.root, server.uri) as store:
            store.client.delete_run(study.runs(server.uri)[name].info.run_id)
        study.run_blocks(len(study.trials))
        collector.collect(study.outcomes())
        study.check(server.uri)


def test_a_server_that_falls_silent_or_is_killed_and_started_again_ends_with_the_same_content(
    study: Study, server: Served, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.run_blocks(*range(8))
    calm = study.layout.root.parent / "calm.db"
    shutil.copy(empty_store, calm)
    study.collect(uri=f"sqlite:///{calm}")

    def at(third: int, number: signal.Signals) -> Any:
        return lambda done, _: server.strike(number) if done == third else None

    # It takes connections and never answers; what it has been sent it does once it wakes up.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with pytest.raises(CollectError, match=r"timed out[^\n]*\n2 of 8 trials"):
        study.collect(uri=server.uri, progress=at(2, signal.SIGSTOP))
    server.strike(signal.SIGCONT)
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    with pytest.raises(CollectError, match=r"\n[56] of 8 trials"):  # it may answer once more
        study.collect(uri=server.uri, progress=at(5, signal.SIGKILL))
    server.end()
    again = Served(study.layout.root, server.uri.rpartition(":")[2])
    try:
        collected = study.collect(uri=again.uri)
        assert collected.unchanged >= 5
        assert collected.new + collected.updated + collected.unchanged == 8
        assert study.content(again.uri) == study.content(f"sqlite:///{calm}")
        study.check(again.uri)
        assert study.collect(uri=again.uri).unchanged == 8
    finally:
        again.end()
