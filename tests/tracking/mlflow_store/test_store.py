"""Where the store is and how it is made."""

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tracking.mlflow_store import store
from tracking.mlflow_store.store import StoreError, journal_mode, mask_uri, open_store, resolve_uri

_OPEN = """
import sys
from pathlib import Path
from tracking.mlflow_store.store import open_store
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


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:secret@db:5432/m", "postgresql://me:***@db:5432/m"),
        ("postgresql://me:a/b#c?d[e@f@db/m", "postgresql://me:***@db/m"),
        ("postgresql://me@db/m?sslmode=x&password=secret", None),
        ("https://me:secret@mlflow.lab/a@b", "https://me:***@mlflow.lab/a@b"),
        ("http://mlflow.lab:5000/a@b", "http://mlflow.lab:5000/a@b"),
        ("sqlite:////a b/mlflow.db", "sqlite:////a b/mlflow.db"),
    ],
)
def test_only_the_password_of_an_address_is_not_shown(uri: str, shown: str | None) -> None:
    assert mask_uri(uri) == (shown or "postgresql://me@db/m?sslmode=x&password=***")


def test_a_password_is_in_no_message() -> None:
    with pytest.raises(StoreError) as told, open_store(Path("/tmp"), "nosuch://me:secret@db/m"):
        pass
    assert "secret" not in str(told.value)


def test_processes_that_open_a_new_store_at_once_all_succeed(tmp_path: Path) -> None:
    root = tmp_path / "a b%20c?d#e'f"
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


def test_a_path_that_no_address_can_hold_is_refused_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = f"sqlite:///{tmp_path}/why?/mlflow.db"
    with pytest.raises(StoreError, match="question mark"), open_store(tmp_path, asked):
        pass
    # As before SQLAlchemy 2.1, which takes a path for what it says.
    monkeypatch.setattr(store, "_decodes_paths", lambda _path: False)
    with pytest.raises(StoreError, match="question mark"), open_store(tmp_path / "why?"):
        pass


def test_a_store_that_cannot_be_made_says_where_and_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/mlflow\.db"), open_store(tmp_path / "file"):
        pass


def test_the_journal_is_set_when_a_store_is_opened(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    with open_store(tmp_path), contextlib.closing(sqlite3.connect(database)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    assert mode == journal_mode(database).lower()
