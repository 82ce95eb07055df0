"""Facts about the process that trains: host, device, packages, code. Looks, changes nothing."""

import os
import platform
import socket
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from jobs.code import code_digest

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
