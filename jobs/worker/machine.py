"""Facts about the process that trains: host, device, packages, code. Looks, changes nothing.

What a trial takes of its machine: processor, memory and GPU, now and then.

Standard library and torch; read from /proc, so that other systems are told less.
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


def describe(device: str, code: str | None = None) -> dict[str, Any]:
    """Return what an `opened` event says of the environment, JSON-ready.

    `code` is the digest of our sources and the user's, where the job has any of theirs.
    """
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "device": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "packages": {"python": platform.python_version()} | _versions(),
        "code": code or code_digest(),
        "thermolion_code": code_digest(),  # trials with and without user code have this in common
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # scikit-learn is not needed on a node that trains no digits
    return found


@cache
def _processor() -> str:
    """Return the model of the CPU: equal bits are promised for equal models alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


_EVERY_S = 10.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MB = 2**20


class Usage:
    """The usage of this process and of all that it has started, from now on."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._since, self._taken = time.monotonic(), _processor_s()
        self._next = self._since + _EVERY_S

    def sample(self, now: bool = False) -> Mapping[str, float] | None:
        """Return what was used since the last sample; None where that was a moment ago.

        Processor in percent of one core, the mean since then; memory in MB, as it is; of a GPU
        what torch has taken at most, in MB, and its load in percent where NVML tells.
        """
        time_s = time.monotonic()
        if time_s <= self._since or not (now or time_s >= self._next):
            return None
        taken = _processor_s()
        # What has ended and was nobody's child any more is not counted, and may have been.
        part = max(0.0, taken - self._taken) / (time_s - self._since)
        self._since, self._taken, self._next = time_s, taken, time_s + _EVERY_S
        used = {
            "process_cpu_utilization_percentage": 100 * part,
            "process_memory_usage_megabytes": sum((_memory_mb(pid) for pid in _family()), 0.0),
        }
        return used | (self._of_gpu() if self._device.type == "cuda" else {})

    def _of_gpu(self) -> dict[str, float]:
        used = {"gpu_memory_usage_megabytes": torch.cuda.max_memory_allocated(self._device) / _MB}
        with contextlib.suppress(ModuleNotFoundError, RuntimeError):  # without NVML's package
            used["gpu_utilization_percentage"] = float(torch.cuda.utilization(self._device))
        return used


def _family() -> Iterator[int]:
    """Yield the pids of this process and of its descendants."""
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        yield pid
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            waiting += map(int, _read(children).split())


def _processor_s() -> float:
    """Return the seconds of processor of all that live, and of their children that have ended."""
    total = 0.0
    for pid in _family():
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
        return ""  # it has ended in this moment
