"""Processes of a study, as tests start, find and await them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from jobs.contract.layout import Layout


def start(*arguments: object, root: Path, python: str = sys.executable) -> subprocess.Popen[str]:
    """Start the command line in a process of its own, with studies below `root`."""
    return subprocess.Popen(
        [python, "-P", "-m", "thermolion.start", "orchestrator.cli.main", *map(str, arguments)],
        env=os.environ | {"THERMOLION_ROOT": str(root)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until `condition` holds; fail once the time is over."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def event_logs(layout: Layout) -> dict[str, bytes]:
    """Return the event logs of a study by name, as they are now."""
    return {log.name: log.read_bytes() for log in layout.events.glob("*")}


def pids(layout: Layout, module: str = "jobs.lane", submission: str = "") -> list[int]:
    """Return the pids of living lanes (or pools) of a study, or of one submission of it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text()
        except OSError:
            continue  # it has ended in this moment
        if module in command and str(layout.submissions / submission) in command:
            found.append(int(process.name))
    return found
