"""A Ray to run lanes on: one of our own on this machine, or one that runs already.

Everything of its own lies in one temporary folder, with a token that keeps all others out.
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

PREFIX = "tl-ray-"
_STORE_BYTES = 100 * 2**20  # nothing of ours travels through it; less is refused
_CONNECT_S = 5.0
# Of Ray and Tune: nothing is told to anybody, logged twice, or written but by ourselves.
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
}


@contextmanager
def session(
    request: Mapping[str, Any], signals: LaneSignals, own_address: str = "127.0.0.1"
) -> Iterator[Mapping[str, Any]]:
    """Be connected to the Ray that a submission asks for; one of our own ends with it.

    Yields what another node needs to join one of our own, which listens at `own_address`. Raises
    BackendError where there is none.
    """
    os.environ.update({**QUIET, **LANE_ENVIRONMENT})
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if request["address"] is not None:
        with _attached(request["address"]):
            yield {}
        return
    temp = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_short()))
    try:
        signals.write_ray({"temp": str(temp), "host": socket.gethostname()})
        token = secrets.token_hex(32)
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN"):  # of another Ray of this user
            os.environ.pop(name, None)
        os.environ.update(_token_in(temp, token))
        import ray

        try:
            _start(request, temp, own_address)
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


def _start(request: Mapping[str, Any], temp: Path, own_address: str) -> None:
    import ray

    # Tune is loaded while the processes of Ray start, which takes longer.
    Thread(target=import_module, args=("orchestrator.backends.ray.tune",), daemon=True).start()
    try:
        with _within(temp / "empty"):  # it stays: the processes of this Ray are there
            ray.init(
                num_cpus=request["cpus"],
                num_gpus=request["gpus"],
                include_dashboard=request["dashboard"],
                object_store_memory=_STORE_BYTES,
                log_to_driver=False,
                _temp_dir=str(temp),
                _node_ip_address=own_address,
            )
    except Exception as error:  # Ray has no class for all that may be in its way
        raise BackendError(
            f"no Ray could be started on {socket.gethostname()}: {error}".partition("\n")[0]
        ) from error


@contextmanager
def _within(folder: Path) -> Iterator[None]:
    """Be in an empty folder: Ray puts the one that it is started in before all others on its path.

    The user's code as it was sent is to be found, not as it is by now, and none of it in the place
    of our own.
    """
    here = Path.cwd()
    folder.mkdir()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


def remove_folder(temp: Path) -> None:
    """Remove the temporary folder of a Ray of ours."""
    if temp.name.startswith(PREFIX):
        shutil.rmtree(temp, ignore_errors=True)


def _token_in(folder: Path, token: str) -> Mapping[str, str]:
    """Write a token that nobody else can read; return the variables by which Ray finds it.

    One that an earlier Ray has left in the user's home would be taken otherwise.
    """
    path = folder / "token"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}


def check_listens(address: str) -> None:
    """Raise BackendError where nobody listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise BackendError(
            f"no Ray answers at {address} ({error}): is it the HOST:PORT that `ray start --head` "
            "has said, and may it be reached from here? Without an address a Ray is started here"
        ) from error


def clean_up(signals: LaneSignals) -> None:
    """Remove what a dead driver of this host has left on disk."""
    shutil.rmtree(signals.folder / TUNE, ignore_errors=True)
    noted = signals.read_ray()
    if noted is not None and noted["host"] == socket.gethostname():
        remove_folder(Path(noted["temp"]))
        signals.forget_ray()


@contextmanager
def _attached(address: str) -> Iterator[None]:
    check_listens(address)
    import ray

    try:
        with tempfile.TemporaryDirectory() as temp, _within(Path(temp) / "empty"):
            ray.init(
                address=address,
                log_to_driver=False,
                runtime_env={"env_vars": dict(LANE_ENVIRONMENT) | {"RAY_CHDIR_TO_TRIAL_DIR": "0"}},
            )
    except Exception as error:  # Ray has no class for all that may be wrong with an address
        raise BackendError(
            f"the Ray at {address} does not take us: {error}".partition("\n")[0]
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _short() -> str:
    """Return where temporary files go; Ray's sockets allow for no long name."""
    usual = tempfile.gettempdir()
    return usual if len(usual) <= len("/var/tmp") else "/tmp"
