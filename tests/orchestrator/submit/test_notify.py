"""Who is told that a study is done, held or failing: once, and whatever becomes of the telling."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from processes import wait_for

from jobs.contract.layout import Layout
from orchestrator.backends.pool import find_pool

SWEEP = """\
study: told
workloads: [{name: mine, train: "told_ends:NAME", metric: loss}]
candidates: {a: {optimizer: sgd, lr: 0.1}, b: {optimizer: sgd, lr: 0.2}}
seeds: 2
"""
TRAIN = """\
def well(trial, context):
    context.log(1, loss=0.5)

def wrong(trial, context):
    raise ValueError("never right")
"""


@pytest.fixture
def server():
    """A webhook that remembers what it was told."""

    class Hook(BaseHTTPRequestHandler):
        told: list[dict[str, object]] = []  # noqa: RUF012 - one server a test

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            self.told.append(json.loads(self.rfile.read(size)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnHook", (Hook,), {"told": []}))
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "told_ends.py").write_text(TRAIN)

    def write(name, keys):
        path = tmp_path / "told.yaml"
        path.write_text(f"{SWEEP.replace('NAME', name)}{keys}\n")
        return path

    return write


def _url(server):
    return f"http://127.0.0.1:{server.server_address[1]}/hook"


def _await_pool(layout):
    told = Layout(layout.root, "told")
    wait_for(lambda: all(find_pool(one) is None for one in told.submissions.glob("*")))


def test_a_webhook_is_told_once_though_nobody_watches(thermolion, sweep, server, layout):
    path = sweep("well", f"notify: {_url(server)}")
    assert thermolion("submit", path).code == 0
    _await_pool(layout)
    for verb in ("status", "run", "status"):
        assert thermolion(verb, "told").code == 0
    (said,) = server.RequestHandlerClass.told
    assert (said["event"], said["study"]) == ("done", "told")
    assert said["text"] == "told is done: 4 completed"


def test_a_command_is_told_of_failures_and_of_the_end(thermolion, sweep, tmp_path, layout):
    log = tmp_path / "log"
    script = tmp_path / "tell.sh"
    script.write_text(f'#!/bin/sh\necho "$THERMOLION_TEXT" >> {log}\ncat > {tmp_path}/said\n')
    script.chmod(0o755)
    path = sweep("wrong", f"notify: {{command: {script}}}")
    path.write_text(path.read_text().replace("seeds: 2", "seeds: 1"))  # too few for a hold
    thermolion("submit", path)
    _await_pool(layout)
    assert thermolion("status", "told").code == 0
    (line,) = log.read_text().splitlines()
    assert line.startswith("told is failing: ")
    assert json.loads((tmp_path / "said").read_text())["event"] == "failing"
    (tmp_path / "told_ends.py").write_text(TRAIN.replace("def wrong", "wrong = well\ndef _"))
    assert thermolion("retry", path).code == 0
    _await_pool(layout)
    thermolion("status", "told")
    assert log.read_text().splitlines()[1:] == ["told is done: 2 completed"]


def test_a_webhook_is_told_that_the_rest_is_held(thermolion, sweep, server, layout):
    # One after another: two lanes may have begun all before enough have failed.
    thermolion("submit", sweep("wrong", f"notify: {_url(server)}"), "--lanes", 1)
    _await_pool(layout)
    thermolion("status", "told")
    told = {said["event"]: said["text"] for said in server.RequestHandlerClass.told}
    assert told.keys() == {"failing", "held"}
    assert told["held"].startswith("told is held: ")


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("sleep 60", "has not ended after 0 s"),
        ("no-such-program-here", "cannot be run"),
        ("bash -c 'echo sorry >&2; exit 3'", "ended with exit code 3: sorry"),
        ("bash -c 'head -c 9 /dev/urandom >&2; printf ÿ >&2; exit 3'", "ended with exit code 3"),
    ],
)
def test_nothing_that_a_command_does_harms_a_study(thermolion, sweep, layout, command, complaint):
    path = sweep("well", f'notify: {{command: "{command}", timeout: 0.4s}}')
    said = thermolion("run", path)
    assert said.code == 0, said.err
    (record,) = (Layout(layout.root, "told").folder / "notices").glob("done-*.json")
    assert json.loads(record.read_text())["told"] is False
    assert complaint in record.read_text()


def test_a_webhook_that_speaks_no_http_is_said_and_recorded(thermolion, sweep, layout):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"220 mail.lab\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
        said = thermolion("run", sweep("well", f"notify: {url}"))
        thread.join()
    assert said.code == 0, said.err
    (record,) = (Layout(layout.root, "told").folder / "notices").glob("done-*.json")
    assert "does not answer" in record.read_text()


@pytest.mark.parametrize("url", ["https://me:secret@hooks.lab/x", "http://hooks.lab:50o0/x"])
def test_an_address_that_cannot_be_told_is_refused_before_anything_starts(
    thermolion, sweep, layout, url
):
    said = thermolion("run", sweep("well", f'notify: "{url}"'))
    assert said.code == 2
    assert len(said.err.strip().splitlines()) == 1
    assert "secret" not in said.err
    assert not Layout(layout.root, "told").folder.exists()


def test_a_webhook_that_is_down_is_said_and_recorded(thermolion, sweep, layout):
    said = thermolion("run", sweep("well", "notify: http://127.0.0.1:9/none"))
    assert said.code == 0
    (record,) = (Layout(layout.root, "told").folder / "notices").glob("done-*.json")
    assert "does not answer" in record.read_text()
