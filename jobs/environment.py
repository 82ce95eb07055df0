"""Facts about the process that trains: host, device, packages, code. Looks, changes nothing."""

import hashlib
import os
import platform
import socket
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("numpy", "scikit-learn", "torch", "torchvision")


def describe(device: str) -> dict[str, Any]:
    """Return what an `opened` event says of the environment, JSON-ready."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "device": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "packages": {"python": platform.python_version()} | _versions(),
        "code": code_digest(),
    }


@cache
def code_digest() -> str:
    """Return 16 hex digits over the sources that decide what a trial computes."""
    here = Path(__file__).parent
    sources = sorted([*here.glob("*.py"), *(here.parent / "thermolion").glob("*.py")])
    whole = hashlib.sha256()
    for source in sources:
        whole.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return whole.hexdigest()[:16]


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
