"""An interpreter that has loaded torch already, for tests that start many processes of ours.

`serve` forks a process for every call of the client, which stands in for `python`: arguments,
variables, folder, files, signals, and exit code or signal are the caller's. What is saved is the
start of an interpreter and the import of torch, seconds of a core for each process; what a process
does is what it always does. Tests of what is loaded, and one of each kind that shows it as it
starts for everybody, use a Python of their own.
"""

import array
import contextlib
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# The first optimizer of a process has torch load its compiler, which takes as long as torch.
PRELOADED = (
    *("torch", "torch._dynamo", "jobs.lane", "jobs.images.loop", "slurm.node", "slurm.feed"),
    *("orchestrator.cli.main", "orchestrator.cli.submit", "orchestrator.cli.results"),
    *("orchestrator.cli.status", "orchestrator.cli.control", "orchestrator.backends.slurm"),
    *("orchestrator.unattended", "orchestrator.results.conclude", "orchestrator.views.plan"),
    *("mlflow.store.tracking.sqlalchemy_store", "tracking.mlflow_store.collect"),
    *("tracking.report.page", "tracking.report.figures.plots", "matplotlib.backends.backend_svg"),
)
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_LOOK_S = 0.02
_STORE = "tracking.mlflow_store.store"
# It goes on as another one, and starts lanes, by its own interpreter: here by the stand-in.
_POOL = "orchestrator.backends.pool"

# Started with -IS: it is there in the time that a shell takes.
CLIENT = """\
#!{python} -IS
import array, json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect("{server}")
said = {{"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd()}}
files = array.array("i", [0, 1, 2])
data = json.dumps(said).encode() + b"\\n"
server.sendmsg([data[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
server.sendall(data[1:])
answers = server.makefile()
pid = int(answers.readline())
numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
for number in numbers:
    signal.signal(number, lambda number, _: os.kill(pid, number))
code = int(answers.readline() or 1)
if code < 0:  # it was killed: so is this
    if -code in numbers:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@contextlib.contextmanager
def warm_python(folder: Path) -> Iterator[str]:
    """Start a server in a folder with a short name; yield the path that stands for `python`."""
    from jobs.contract.pack import LANE_ENVIRONMENT

    client, where = folder / "python", folder / "python.sock"
    client.write_text(CLIENT.format(python=sys.executable, server=where))
    client.chmod(0o755)
    command = [sys.executable, "-P", __file__, str(where), str(client)]
    with subprocess.Popen(
        command, env=os.environ | LANE_ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        try:
            yield str(client)
        finally:
            server.terminate()


def serve(where: str, stand_in: str) -> None:
    """Fork a process for every client, and tell it the exit code; it dies with its client."""
    for name in PRELOADED:
        importlib.import_module(name)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(where)
    listener.listen(128)
    print("ready", flush=True)  # noqa: T201 - whoever has started us waits for it
    clients: dict[int, socket.socket] = {}
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select(_LOOK_S):
            if key.fileobj is listener:
                client, _ = listener.accept()
                pid = _start(client, listener, stand_in)
                if pid is not None:
                    clients[pid] = client
                    selector.register(client, selectors.EVENT_READ, pid)
            else:
                selector.unregister(key.fileobj)  # it has nothing more to say: it is gone
                with contextlib.suppress(ProcessLookupError):
                    os.kill(key.data, signal.SIGKILL)
        for pid in list(clients):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                client = clients.pop(pid)
                code = os.waitstatus_to_exitcode(status)
                with contextlib.suppress(KeyError):
                    selector.unregister(client)
                with contextlib.suppress(OSError):
                    client.sendall(f"{code}\n".encode())
                client.close()


def _start(client: socket.socket, listener: socket.socket, stand_in: str) -> int | None:
    """Fork a process for a client; None for one that was killed before it has said all."""
    try:
        said, files = _hear(client)
    except OSError:
        client.close()
        return None
    pid = os.fork()
    if pid:
        for file in files:
            os.close(file)
        with contextlib.suppress(OSError):  # it is gone: the selector says so, with the next look
            client.sendall(f"{pid}\n".encode())
        return pid
    listener.close()
    client.close()
    os._exit(_become(said, files, stand_in))


def _hear(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return what a client wants to be run, and its three files; raises OSError if it is gone."""
    first, ancillary, _, _ = client.recvmsg(1, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    files = array.array("i")
    for _, _, data in ancillary:
        files.frombytes(data)
    rest = b""
    while not rest.endswith(b"\n"):
        more = client.recv(1 << 16) if first else b""
        if not more:
            for file in files:
                os.close(file)
            raise ConnectionAbortedError
        rest += more
    return json.loads(first + rest), list(files)


def _become(said: dict[str, Any], files: list[int], stand_in: str) -> int:
    """Be `python -P -m MODULE …` of the caller; return its exit code."""
    for number in FORWARDED:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, default)
    for standard, file in enumerate(files):
        os.dup2(file, standard)
        os.close(file)  # or whoever is started by this process would hold it open
    os.environ.clear()
    os.environ.update(said["env"])
    os.chdir(said["cwd"])
    _customise()
    words = [word for word in said["argv"] if word != "-P"]
    assert words[0] == "-m", words
    if words[1] == "thermolion.start":  # what is loaded here is ours
        del words[1]
    sys.argv = words[1:]
    if words[1] == _POOL:
        sys.executable = stand_in
    start_pools_by(stand_in)
    importlib.import_module(_STORE)._initialise = copied_store(
        Path(stand_in).with_name("empty.db")
    )
    sys.modules.pop(words[1], None)  # it is to run anew, under another name
    code: Any = 0
    try:
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code or 0
        if isinstance(code, str):
            sys.stderr.write(f"{code}\n")
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else 1


def copied_store(empty: Path) -> Callable[[Path], None]:
    """Return what puts an empty store of MLflow somewhere: to make one takes seconds, once."""
    make = importlib.import_module(_STORE)._initialise

    def put(database: Path) -> None:
        if not empty.exists():
            make(empty)
        database.parent.mkdir(parents=True, exist_ok=True)
        draft = database.with_name(f"{database.name}.{os.getpid()}")
        shutil.copy(empty, draft)
        with contextlib.suppress(FileExistsError):  # another process was quicker
            os.link(draft, database)
        draft.unlink()

    return put


def start_pools_by(python: str) -> None:
    """Have this process start pools on this machine by another Python than its own."""
    importlib.import_module("orchestrator.backends.local").sys = SimpleNamespace(executable=python)


def _customise() -> None:
    """Heed the caller's PYTHONPATH, and what customises interpreters there, as one that starts."""
    folders = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.path[:0] = folders
    if any(Path(folder, "sitecustomize.py").exists() for folder in folders):
        sys.modules.pop("sitecustomize", None)
        importlib.import_module("sitecustomize")


if __name__ == "__main__":
    serve(*sys.argv[1:])
