"""A real MLflow server, started by the command line that is printed for people."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tracking.collect import CollectError
from tracking.store import browse_command

Study = Any  # of conftest.py, which nobody can import


class Server:
    """A server on the store of a root, on a free port; ended by its process group."""

    def __init__(self, root: Path, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}"
        with (folder / "server.log").open("w") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", f"{browse_command(root)} --port {port}"],
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
            )

    def read(self, path: str) -> str:
        """Return a page; waits until the server is up."""
        until = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(self.uri + path, timeout=10) as answer:
                    return str(answer.read().decode())
            except (urllib.error.URLError, OSError):
                assert self._process.poll() is None, "the server ended"
                assert time.monotonic() < until, "the server does not answer"
                time.sleep(0.3)

    def end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(timeout=60)


@pytest.fixture
def server(study: Study, tmp_path: Path) -> Iterator[Server]:
    server = Server(study.layout.root, tmp_path)
    yield server
    server.end()


def test_the_printed_command_serves_the_study_and_takes_what_is_collected_through_it(
    study: Study, server: Server
) -> None:
    study.run_blocks(0, 1)
    study.layout.report.mkdir()
    (study.layout.report / "report.html").write_text("<p>answer</p>")
    study.collect(report=study.layout.report)
    run = study.runs()[study.trials[0].id].info.run_id
    parent = study.runs()[""].info.run_id
    assert "adamw[lr=0.001]" in server.read(f"/api/2.0/mlflow/runs/get?run_id={run}")
    assert "report.html" in server.read(f"/api/2.0/mlflow/artifacts/list?run_id={parent}")
    assert "<title>MLflow" in server.read("/")

    study.check(server.uri)
    again = study.collect(uri=server.uri, report=study.layout.report)
    assert (again.new, again.unchanged) == (0, 2)

    other = study.another("other study")
    other.run_blocks(*range(4))
    with pytest.raises(CollectError, match=r"\n[23] of 4 trials"):  # it may answer once more
        other.collect(uri=server.uri, progress=lambda done, _: server.end() if done == 2 else None)
    collected = other.collect()
    assert collected.unchanged >= 2
    assert collected.new + collected.updated + collected.unchanged == 4
    other.check()
