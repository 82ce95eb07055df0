"""Where the store is, how it is made, and whether the printed command really shows it."""

import os
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tracking.store import (
    StoreError,
    browse_command,
    journal_mode,
    open_store,
    resolve_uri,
    shown_uri,
)

_OPEN = """
import sys
from pathlib import Path
from tracking.store import open_store
with open_store(Path(sys.argv[1])) as store:
    store.client.create_experiment(sys.argv[2])
"""


@pytest.fixture(autouse=True)
def _no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_an_argument_beats_the_environment_and_that_beats_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://one:5000")
    assert resolve_uri(tmp_path) == "http://one:5000"
    assert resolve_uri(tmp_path, "http://two:5000") == "http://two:5000"


def test_a_password_is_never_shown() -> None:
    assert shown_uri("postgresql://me:secret@db:5432/m") == "postgresql://me:***@db:5432/m"
    assert shown_uri("sqlite:////a b/mlflow.db") == "sqlite:////a b/mlflow.db"
    with pytest.raises(StoreError) as told, open_store(Path("/tmp"), "nosuch://me:secret@db/m"):
        pass
    assert "secret" not in str(told.value)


def test_processes_that_open_a_new_store_at_once_all_succeed(tmp_path: Path) -> None:
    root = tmp_path / "a b%c#d'e"
    commands = [[sys.executable, "-c", _OPEN, str(root), f"study {n}"] for n in range(2)]
    processes = [subprocess.Popen(one, cwd=tmp_path) for one in commands]
    assert [one.wait(timeout=120) for one in processes] == [0, 0]
    with open_store(root) as store:
        names = {one.name for one in store.client.search_experiments()}
        assert store.artifacts == root / "mlartifacts"
    assert names == {"Default", "study 0", "study 1"}
    assert [one.name for one in root.iterdir()] == ["mlflow.db"]
    assert list(tmp_path.iterdir()) == [root]


@pytest.mark.parametrize(
    ("mounts", "mode"),
    [
        ("/dev/sda / ext4 rw 0 0\n", "WAL"),
        ("/dev/sda / ext4 rw 0 0\nserver:/x {} nfs4 rw 0 0\n", "DELETE"),
        ("server:/ / nfs rw 0 0\ntmpfs {} tmpfs rw 0 0\n", "WAL"),
        ("/dev/sda / ext4 rw 0 0\nserver:/x {}x nfs4 rw 0 0\n", "WAL"),
        ("home {} fuse.sshfs rw 0 0\n", "DELETE"),
        ("", "DELETE"),
    ],
)
def test_a_write_ahead_log_is_kept_on_local_filesystems_alone(
    tmp_path: Path, mounts: str, mode: str
) -> None:
    folder = tmp_path / "on a mount"
    folder.mkdir()
    point = str(folder).replace(" ", r"\040")
    assert journal_mode(folder / "mlflow.db", mounts.replace("{}", point)) == mode


def test_a_path_that_no_address_can_hold_is_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="question mark"), open_store(tmp_path / "why?"):
        pass


def test_a_store_that_cannot_be_made_says_where_and_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/mlflow\.db"), open_store(tmp_path / "file"):
        pass


def test_a_server_is_shown_by_opening_its_page(tmp_path: Path) -> None:
    assert browse_command(tmp_path, "https://mlflow.lab").endswith("webbrowser https://mlflow.lab")


def test_the_printed_command_serves_the_runs_of_the_store(tmp_path: Path) -> None:
    root = tmp_path / "a b%c#d'e"
    with open_store(root) as store:
        experiment = store.client.create_experiment("shown")
        run = store.client.create_run(experiment, run_name="digits · adamw · block 3")
        mode = sqlite3.connect(root / "mlflow.db").execute("PRAGMA journal_mode").fetchone()
        assert mode == (journal_mode(root / "mlflow.db").lower(),)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = browse_command(root)
    assert "--host 127.0.0.1" in command
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            ["sh", "-c", f"{command} --port {port}"],
            stdout=log,
            stderr=log,
            cwd=tmp_path,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/get?run_id={run.info.run_id}"
        assert "adamw" in _read(url, server)
        page = _read(f"http://127.0.0.1:{port}/", server)
        assert "<title>MLflow" in page
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)
    assert shlex.split(command)[0] == "MLFLOW_DISABLE_TELEMETRY=true"


def _read(url: str, server: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.3)
