"""`thermolion ui` on a real store: who may look, what is printed, how it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from jobs.contract.events import EventLog
from orchestrator.study.study import open_study


@pytest.fixture
def collected(thermolion, small, tmp_path):
    """A study with one trial in MLflow."""
    study = open_study(str(small), tmp_path / "studies")
    study.record()
    log = EventLog(study.layout.event_log("s1", 0, 0, 0), 0, free_bytes=0)
    log.append("opened", submission="s1", pack=0, lane=0, host="n1", device="cpu", code="c0")
    log.append("started", study.trials[0].id, config=study.trials[0].to_json(), token="t")
    log.close()
    assert thermolion("collect", "small").code == 0
    return study


def _status(request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_page_of_a_study_is_for_whoever_has_the_link_until_ctrl_c(collected):
    command = [sys.executable, "-m", "orchestrator.cli.main", "ui", "small"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "THERMOLION_ROOT": str(collected.layout.root)},
    )
    link = process.stdout.readline().strip()
    shape = r"(http://127\.0\.0\.1:(\d+))/\?token=([\w-]{32})#/experiments/\d+/runs"
    found = re.fullmatch(shape, link)
    assert found, link + process.stderr.read()
    base, port, token = found.groups()
    search = f"{base}/api/2.0/mlflow/experiments/get-by-name?experiment_name=small"
    assert _status(f"{base}/") == _status(search) == 401
    assert _status(urllib.request.Request(search, headers={"Authorization": "Bearer x"})) == 401
    bearer = {"Authorization": f"Bearer {token}"}
    assert _status(urllib.request.Request(search, headers=bearer)) == 200
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with browser.open(link, timeout=60) as page:
        assert "<title>MLflow" in page.read().decode()
        assert page.url.startswith(f"{base}/")
        assert token not in page.url
    with browser.open(search, timeout=60) as answer:
        assert '"small"' in answer.read().decode()

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"ssh -N -L {port}:127.0.0.1:{port}" in err
    assert err.endswith("ended\n")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{base}/health", timeout=10)


def test_a_port_that_is_taken_or_none_is_named(thermolion):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = thermolion("ui", "--port", port)
    assert said.code == 1
    assert f"port {port} cannot be had" in said.err
    assert "leave --port out" in said.err
    assert thermolion("ui", "--port", "80").code == 2
    assert "neither a sweep file nor a study" in thermolion("ui", "nonsense").err


def test_a_store_that_has_a_server_needs_none_of_ours(thermolion, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    said = thermolion("ui", "--mlflow", "http://me:secret@mlflow.lab:5000/")
    assert (said.code, said.out) == (0, "http://me:***@mlflow.lab:5000/#/\n")


def test_a_server_that_does_not_answer_is_said(thermolion, small):
    said = thermolion("ui", small, "--mlflow", "http://127.0.0.1:9")
    assert said.code == 1
    assert "http://127.0.0.1:9 does not answer" in said.err
