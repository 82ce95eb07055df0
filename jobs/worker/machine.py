"""The machine that trains: its facts for the log, and what a trial uses of it.

Standard library and torch; reads /proc, so that systems without it report less.
"""

import contextlib
import os
import platform
import socket
import time
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from jobs.contract.source_digest import code_digest

_PACKAGES = ("numpy", "scikit-learn", "torch", "torchvision")
_SAMPLE_EVERY_S = 10.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MB = 2**20


def describe(device: str, code: str | None = None) -> dict[str, Any]:
    """Return what an `opened` event says of the environment, JSON-ready.

    `code` is the digest of our sources and the user's; None if the job has none of the user's.
    """
    facts: dict[str, Any] = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "device": torch.cuda.get_device_name() if device == "cuda" else _processor_model(),
        "packages": {"python": platform.python_version()} | _package_versions(),
        "code": code or code_digest(),
        "thermolion_code": code_digest(),  # trials with and without user code have this in common
    }
    if device == "cuda":
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        facts["device_memory_mb"] = round(total / _MB)
    return facts


def _package_versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        # scikit-learn is not needed on a node that trains no digits.
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


@cache
def _processor_model() -> str:
    """Return the model of the CPU: equal bits are promised for equal models only."""
    lines = _read(Path("/proc/cpuinfo")).splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


class Usage:
    """What this process and all that it has started use of the machine, from now on."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._since, self._taken = time.monotonic(), _processor_s()

    def sample(self, now: bool = False) -> Mapping[str, float] | None:
        """Return what was used since the last sample; None if that was a moment ago.

        Processor in percent of one core, the mean since then; memory in MB, as it is now; of a GPU
        the most that torch has allocated, in MB, and its load in percent if NVML is there.
        """
        time_s = time.monotonic()
        if time_s <= self._since or not (now or time_s >= self._since + _SAMPLE_EVERY_S):
            return None
        taken = _processor_s()
        # An orphan that has ended is no longer counted, but may have been before.
        share = max(0.0, taken - self._taken) / (time_s - self._since)
        self._since, self._taken = time_s, taken
        used: dict[str, float] = {
            "process_cpu_utilization_percentage": 100 * share,
            "process_memory_usage_megabytes": sum(map(_memory_mb, _process_tree())),
        }
        if self._device.type == "cuda":
            most = torch.cuda.max_memory_allocated(self._device)
            used["gpu_memory_usage_megabytes"] = most / _MB
            with contextlib.suppress(ModuleNotFoundError, RuntimeError):  # without NVML's package
                used["gpu_utilization_percentage"] = float(torch.cuda.utilization(self._device))
        return used


def _process_tree() -> Iterator[int]:
    """Yield the pids of this process and of its descendants."""
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        yield pid
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            waiting += map(int, _read(children).split())


def _processor_s() -> float:
    """Return the processor seconds of living processes and of their children that have ended."""
    total = 0.0
    for pid in _process_tree():
        fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
        total += sum(map(int, fields[11:15])) / _TICKS_PER_S
    return total


def _memory_mb(pid: int) -> float:
    fields = _read(Path(f"/proc/{pid}/statm")).split()
    return int(fields[1]) * _PAGE / _MB if fields else 0.0


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""  # the process has just ended, or there is no /proc
