"""MLflow as a team has it: PostgreSQL behind a server that asks for a name and a password."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tracking.mlflow_store.collect import CollectError

Study = Any  # of conftest.py, which nobody can import

PAGE = (Path(__file__).parents[4] / "docs" / "mlflow.md").read_text()
NOBODY = 65534


def _recipe(language: str, title: str) -> str:
    """Return a fenced block of the page."""
    found = re.search(rf"^```{language} title={title}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"the page has no block {title}"
    return found.group(1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs; Debian keeps them off the path."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if not places:
        reason = "needs PostgreSQL: apt-get install postgresql"
        if "postgresql" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail(reason)
        pytest.skip(reason)
    return places[0]


@pytest.fixture
def database() -> Iterator[str]:
    """The address of an empty database in a cluster of our own, which root may not run."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="tl-pg-", dir="/tmp"))
    who: Mapping[str, Any] = {}
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    data, word, port = folder / "data", secrets.token_urlsafe(12), _free_port()
    (folder / "word").write_text(word)
    made = ["--username=mlflow", "--auth=scram-sha-256", f"--pwfile={folder / 'word'}"]
    made += ["--encoding=UTF8", "--locale=C", "--no-sync", f"--pgdata={data}"]
    command = [str(programs / "initdb"), *made]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, **who)
    assert done.returncode == 0, done.stderr
    options = ["-D", str(data), "-p", str(port), "-k", str(folder), "-F"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [str(programs / "postgres"), *options, "-c", "listen_addresses=127.0.0.1"],
            cwd=folder,
            stdout=log,
            stderr=log,
            **who,
        ) as server,
    ):
        try:
            _await_database(word, port, server)
            yield f"postgresql+psycopg2://mlflow:{word}@127.0.0.1:{port}/mlflow"
        finally:
            server.send_signal(signal.SIGINT)  # it waits for nobody who is still connected
    shutil.rmtree(folder)


def _await_database(word: str, port: int, server: "subprocess.Popen[bytes]") -> None:
    import psycopg2

    until = time.monotonic() + 60
    while True:
        try:
            found = psycopg2.connect(
                host="127.0.0.1", port=port, user="mlflow", password=word, dbname="postgres"
            )
        except psycopg2.OperationalError:
            assert server.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
            continue
        found.autocommit = True
        with found.cursor() as cursor:
            cursor.execute("CREATE DATABASE mlflow")
        found.close()
        return


@pytest.fixture
def served(database: str, tmp_path: Path) -> Iterator[str]:
    """The address of a server that was started as the page says."""
    port = str(_free_port())
    folder = tmp_path / "server"
    folder.mkdir()
    ours = {
        "postgresql+psycopg2://mlflow:PASSWORD@127.0.0.1/mlflow": database,
        "/srv/mlflow": str(folder),
        "5000": port,
        "--workers 4": "--workers 1",
        "mlflow server": f"exec {sys.executable} -m mlflow server",
        "$(openssl rand -hex 32)": secrets.token_hex(32),
        "ADMIN-PASSWORD": "0123456789ab",
    }

    def here(text: str) -> str:
        for shown, meant in ours.items():
            text = text.replace(shown, meant)
        return text

    (folder / "auth.ini").write_text(here(_recipe("ini", "auth.ini")))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["bash", "-euc", here(_recipe("sh", "serve.sh"))],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 120
        while not _answers(address):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/health", timeout=10).close()
    except OSError:
        return False
    return True


def test_what_arrives_in_postgresql_through_a_server_with_users_is_what_arrives_in_sqlite(
    study: Study, database: str, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.run_blocks(*range(3))
    odd, log = study.trial(9), study.log()
    study.start(log, odd)
    study.evaluate(log, odd, 0, 5, train_loss=float("inf"), val_loss=float("nan"))
    log.append("diverged", odd.id, step=5, train_seconds=0.5, metrics={}, error="a loss of nan")
    log.close()
    study.collect(note="# Answer")

    with pytest.raises(CollectError, match=r"(?i)authenticated|401|credentials"):
        study.collect(uri=served)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "0123456789ab")
    assert study.collect(uri=served, note="# Answer").new == 4
    assert study.content(served) == study.content()
    # Straight into the database, as somebody who has its password may.
    assert study.collect(uri=database, note="# Answer").unchanged == 4

    quickstart = study.another("quickstart")
    sweep = Path(__file__).parents[4] / "sweeps" / "quickstart.yaml"
    _call(quickstart, "run", str(sweep), "--set", "workloads.0.epochs=1")
    _call(quickstart, "collect", "quickstart", "--mlflow", served)
    assert len(quickstart.content()) == 1 + 4 + 20  # the study, its candidates, their trials
    assert quickstart.content(served) == quickstart.content()


def _call(study: Study, *words: str) -> None:
    command = [sys.executable, "-P", "-m", "orchestrator.cli.main", *words]
    done = subprocess.run(
        [*command, "--root", str(study.layout.root)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
