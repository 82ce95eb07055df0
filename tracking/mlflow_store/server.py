"""Serves MLflow's pages on a store, to this machine alone, until the caller ends it.

Starts one process and ends it; collects nothing and opens no browser.
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO
from urllib.parse import urlencode

from thermolion.start import find_shadows
from tracking.mlflow_store.auth import TOKEN_VARIABLE
from tracking.mlflow_store.store import (
    SERVER_ENVIRONMENT,
    StoreError,
    database_of,
    first_line,
    mask_uri,
    open_store,
    resolve_uri,
    without_stray_folder,
)

_HOST = "127.0.0.1"
_APP = "thermolion"
_MLFLOW_SERVER = ("-m", "mlflow", "server", "--app-name", _APP, "--host", _HOST, "--workers", "1")
_START_S = 180  # MLflow imports half a scientific stack, perhaps from a network mount
_END_S = 15
_LAST_LINES = 12


@dataclass(frozen=True)
class Pages:
    """Where MLflow's pages are: `base` without a password, `token` if they ask for one."""

    base: str
    token: str | None

    def link(self, page: str = "") -> str:
        """Return the address of a page, `experiments/7` or the first one, with its password."""
        query = f"?{urlencode({'token': self.token})}" if self.token else ""
        return f"{self.base}/{query}#/{page}"


@dataclass(frozen=True)
class Server:
    """A running MLflow server that `serve` has started."""

    pages: Pages
    port: int
    _process: "subprocess.Popen[bytes]"

    def wait(self) -> int:
        """Return its exit status once it has ended, by itself or by somebody else."""
        return self._process.wait()


def find_study_page(root: Path, study: str, uri: str | None = None) -> str | None:
    """Return the page of a study in the store; None if nothing of it was collected.

    Raises StoreError.
    """
    address = resolve_uri(root, uri)
    with open_store(root, uri) as store:
        try:
            experiment = store.client.get_experiment_by_name(study)
        except Exception as error:  # a foreign library: its ways to fail cannot be listed
            reason = first_line(error, address)
            raise StoreError(f"MLflow at {mask_uri(address)} does not answer: {reason}") from error
    return None if experiment is None else f"experiments/{experiment.experiment_id}/runs"


def remote_pages(root: Path, uri: str | None = None) -> Pages | None:
    """Return the pages of a store that has a server already; None if it needs one of ours."""
    address = resolve_uri(root, uri)
    return Pages(mask_uri(address).rstrip("/"), None) if address.startswith("http") else None


@contextlib.contextmanager
def serve(
    root: Path, uri: str | None = None, port: int | None = None, password: bool = True
) -> Iterator[Server]:
    """Serve the store of a root on loopback; ends the server when the block ends.

    `port` None takes a free one. Raises StoreError if the server does not start.
    """
    address = resolve_uri(root, uri)
    if _APP not in entry_points(group="mlflow.app").names:
        raise StoreError(
            "this installation does not know its own page server: install thermolion again "
            "(pip install --editable '.[tracking]' in a working copy)"
        )
    port = _free_port(port)
    token = os.environ.get(TOKEN_VARIABLE) or secrets.token_urlsafe(24) if password else None
    with without_stray_folder(address), tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, *_MLFLOW_SERVER, "--port", str(port)],
            env=_environment(address, token),
            stdin=subprocess.PIPE,  # held by us: its end ends the server, however we end
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is ours, and then we end it
        )
        try:
            pages = Pages(f"http://{_HOST}:{port}", token)
            _await(process, pages, log)
            yield Server(pages, port, process)
        finally:
            _end(process)


def _environment(uri: str, token: str | None) -> Mapping[str, str]:
    """Return the variables of the server: its secrets too, since others can read arguments."""
    own = {"MLFLOW_BACKEND_STORE_URI": uri, TOKEN_VARIABLE: token or ""}
    if (database := database_of(uri)) is not None:
        own["MLFLOW_ARTIFACTS_DESTINATION"] = str(database.parent / "mlartifacts")
    # Another `tracking` there would be run in the place of ours.
    path, shadows = os.environ.get("PYTHONPATH", "").split(os.pathsep), find_shadows()
    own["PYTHONPATH"] = os.pathsep.join(
        folder for folder in path if (folder or str(Path.cwd())) not in shadows
    )
    return {**os.environ, **SERVER_ENVIRONMENT, **own}


def _free_port(wanted: int | None) -> int:
    with socket.socket() as tried:
        # As the server does: a port that was used a minute ago is free.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((_HOST, wanted or 0))
        except OSError as error:
            raise StoreError(
                f"port {wanted} cannot be had ({error.strerror}): leave --port out for a free one"
            ) from error
        return int(tried.getsockname()[1])


def _await(process: "subprocess.Popen[bytes]", pages: Pages, log: IO[bytes]) -> None:
    until = time.monotonic() + _START_S
    bearer = {"Authorization": f"Bearer {pages.token}"} if pages.token else {}
    request = urllib.request.Request(f"{pages.base}/health", headers=bearer)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError), direct.open(request, timeout=5):
            return
        if process.poll() is not None:
            raise StoreError(f"MLflow ended while it started:\n{_tail(log)}")
        if time.monotonic() > until:
            raise StoreError(f"MLflow did not answer within {_START_S} s:\n{_tail(log)}")
        time.sleep(0.1)


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-_LAST_LINES:])


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the server and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what has not ended by itself
    process.wait()
    if process.stdin is not None:
        process.stdin.close()
