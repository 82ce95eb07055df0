"""A Ray to run lanes on: a new one on this machine, or one that runs already.

All files of a new one are in one temporary folder, with a token that keeps other users out.
"""

import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

from jobs.contract.pack import LANE_ENVIRONMENT
from orchestrator.backends.ray.signals import TUNE, LaneSignals
from orchestrator.backends.records import BackendError
from thermolion.start import find_shadows

PREFIX = "tl-ray-"
_STORE_BYTES = 100 * 2**20  # the least that Ray accepts; we store nothing in it
_CONNECT_S = 5.0
# What Ray calls as a process of it starts: its PYTHONPATH may have other packages of our names.
_OURS_FIRST = {"worker_process_setup_hook": "thermolion.start.put_ours_first"}
# Ray and Tune report nothing to their makers, log nothing twice, and write no results.
QUIET: Mapping[str, str] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),  # the event logs say what is missing
    "TUNE_WARN_THRESHOLD_S": "10",
    "TUNE_MAX_PENDING_TRIALS_PG": "2",
    # Lanes are no less urgent than those of the local backend. At Ray's own niceness, 15, one
    # takes minutes to start beside other work: the test of a killed search failed by that.
    "RAY_worker_niceness": "0",
}


@contextmanager
def session(
    request: Mapping[str, Any], signals: LaneSignals, listen_at: str = "127.0.0.1"
) -> Iterator[Mapping[str, Any]]:
    """Connect to the Ray that a submission asks for; a new one ends with this context.

    Yields what another node needs to join a new one, which listens at `listen_at`. Raises
    BackendError if there is no Ray.
    """
    os.environ.update({**QUIET, **LANE_ENVIRONMENT})
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if request["address"] is not None:
        with _attach(request["address"]):
            yield {}
        return
    temp = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_short_folder()))
    try:
        signals.write_ray({"temp": str(temp), "host": socket.gethostname()})
        token = secrets.token_hex(32)
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN"):  # they would name another Ray of this user
            os.environ.pop(name, None)
        os.environ.update(_write_token(temp, token))
        import ray

        try:
            _start(request, temp, listen_at)
            yield {
                "address": ray.get_runtime_context().gcs_address,
                "token": token,
                "temp": str(temp),
                "store": _STORE_BYTES,
            }
        finally:
            ray.shutdown()
    finally:
        remove_folder(temp)
        signals.forget_ray()


def _start(request: Mapping[str, Any], temp: Path, listen_at: str) -> None:
    import ray

    # Tune is loaded while the processes of Ray start, which takes longer.
    Thread(target=import_module, args=("orchestrator.backends.ray.tune",), daemon=True).start()
    try:
        with _inside(temp / "empty"):  # it stays: the processes of this Ray are there
            ray.init(
                num_cpus=request["cpus"],
                num_gpus=request["gpus"],
                include_dashboard=request["dashboard"],
                object_store_memory=_STORE_BYTES,
                log_to_driver=False,
                _temp_dir=str(temp),
                _node_ip_address=listen_at,
                runtime_env=_OURS_FIRST if find_shadows() else None,
            )
    except Exception as error:  # Ray has no class for all that may be in its way
        raise BackendError(
            f"no Ray could be started on {socket.gethostname()}: {error}".partition("\n")[0]
        ) from error


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in an empty folder, for Ray puts the folder that it is started in first on its path.

    Lanes have to import the user's code as it was sent, not as it is by now, and no module of the
    user's in place of ours.
    """
    here = Path.cwd()
    folder.mkdir()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


def remove_folder(temp: Path) -> None:
    """Remove the temporary folder of a Ray that we have started."""
    if temp.name.startswith(PREFIX):
        shutil.rmtree(temp, ignore_errors=True)


def _write_token(folder: Path, token: str) -> Mapping[str, str]:
    """Write a token that only the user can read; return the variables by which Ray finds it.

    Without them Ray would take the token that an earlier one has left in the user's home.
    """
    path = folder / "token"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}


def check_listens(address: str) -> None:
    """Raise BackendError if nothing listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise BackendError(
            f"no Ray answers at {address} ({error}): is it the HOST:PORT that `ray start --head` "
            "has said, and may it be reached from here? Without an address a Ray is started here"
        ) from error


def clean_up(signals: LaneSignals) -> None:
    """Remove the files that a dead driver of this host has left."""
    shutil.rmtree(signals.folder / TUNE, ignore_errors=True)
    record = signals.read_ray()
    if record is not None and record["host"] == socket.gethostname():
        remove_folder(Path(record["temp"]))
        signals.forget_ray()


@contextmanager
def _attach(address: str) -> Iterator[None]:
    check_listens(address)
    import ray

    try:
        with tempfile.TemporaryDirectory() as temp, _inside(Path(temp) / "empty"):
            ray.init(
                address=address,
                log_to_driver=False,
                runtime_env={
                    "env_vars": dict(LANE_ENVIRONMENT) | {"RAY_CHDIR_TO_TRIAL_DIR": "0"},
                    **_OURS_FIRST,
                },
            )
    except Exception as error:  # Ray has no class for all that may be wrong with an address
        raise BackendError(
            f"the Ray at {address} does not take us: {error}".partition("\n")[0]
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _short_folder() -> str:
    """Return a folder for temporary files whose name is short enough for Ray's sockets."""
    usual = tempfile.gettempdir()
    return usual if len(usual) <= len("/var/tmp") else "/tmp"
