"""A Ray that runs already, as somebody else has started it, and what is left of Rays."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from processes import wait_for


def require_ray() -> None:
    """Skip if Ray is missing, with the reason; fail if REQUIRE names it."""
    if find_spec("ray") is not None:
        return
    reason = "needs Ray: pip install 'thermolion[ray]'"
    if "ray" in os.environ.get("REQUIRE", "").split(","):
        pytest.fail(reason)
    pytest.skip(reason)


@contextlib.contextmanager
def ray_head(cpus: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Start a Ray on loopback; yield its address, and the variables that let one in."""
    require_ray()
    temp = Path(tempfile.mkdtemp(prefix="tl-head-", dir="/tmp"))
    token = temp / "token"
    token.write_text("0123456789abcdef" * 4)
    variables = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # tests that run beside it have the cores otherwise
    }
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    words += [f"--port={port}", "--node-ip-address=127.0.0.1", f"--num-cpus={cpus}"]
    words += ["--include-dashboard=false", f"--temp-dir={temp}", "--num-gpus=0"]
    words += ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
    words += [f"--object-store-memory={100 * 2**20}"]
    log = (temp / "log").open("w")
    head = subprocess.Popen(words, env=os.environ | variables, stdout=log, stderr=log)
    try:
        wait_for(lambda: "--block" in (temp / "log").read_text(), 120)
        yield f"127.0.0.1:{port}", variables
    finally:
        head.terminate()
        head.wait(60)
        log.close()
        wait_for(lambda: not processes_of(temp))
        shutil.rmtree(temp)


def processes_of(temp: Path | str, but: str | None = None) -> list[int]:
    """Return the pids of what belongs to the Ray of a temporary folder, `but` for some."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            told = words + (process / "environ").read_bytes()
        except OSError:
            continue  # it has ended, or is not ours
        if but is not None and but.encode() in words:
            continue
        if str(temp).encode() in told and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found
