"""A checkpoint: all that an interrupted trial needs to go on with the same bits.

Tensors and plain types alone, read with `weights_only=True`. What they mean, it does not know.
"""

import contextlib
import hashlib
import io
import logging
import os
import random
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from jobs.contract.atomic_write import open_atomically
from jobs.contract.attempts import Attempt
from jobs.contract.content import known_fields
from thermolion.errors import OperationError

VERSION = 1

_CONTAINERS = (list, tuple, torch.Size)
# By exact type: a numpy float is a float, and would not be read back.
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)

_NumpyState = tuple[str, NDArray[np.uint32], int, int, float]

_log = logging.getLogger(__name__)


class CheckpointError(OperationError):
    """A checkpoint that must not be used, with what to do about it."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a trial between two steps, and the attempt that wrote it.

    `step` is the last one logged, `logged` the last value of every metric, `seconds` the training
    time so far; `state` is the training's own; `rng` holds the states of the global generators,
    one mapping a rank.
    """

    trial: str
    generation: int
    token: str
    step: int
    logged: dict[str, float]
    seconds: float
    rng: list[Any]
    state: Any

    @property
    def attempt(self) -> Attempt:
        return Attempt(self.generation, self.token)


def check_plain(value: Any, name: str = "state") -> None:
    """Raise TypeError if `torch.load(weights_only=True)` would refuse to read `value`."""
    if isinstance(value, dict):
        for key, item in value.items():
            check_plain(key, f"a key of {name}")
            check_plain(item, f"{name}[{key!r}]")
    elif isinstance(value, (list, tuple)) and type(value) in _CONTAINERS:
        for number, item in enumerate(value):
            check_plain(item, f"{name}[{number}]")
    elif not isinstance(value, torch.Tensor) and type(value) not in _PLAIN:
        raise TypeError(
            f"{name} is of type {type(value).__module__}.{type(value).__qualname__}: a checkpoint "
            "holds tensors, numbers, text, None, and dicts, lists and tuples of them; save its "
            "state_dict(), or convert it"
        )


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, durably, whole or not at all; raises OSError."""
    path.parent.mkdir(exist_ok=True)
    try:
        with open_atomically(path) as file:
            torch.save({"version": VERSION} | vars(checkpoint), file)
    except RuntimeError as error:  # what torch makes of a full disk
        raise OSError(f"{path} cannot be written: {error}") from error
    _sync_folder(path.parent)


def read(path: Path, trial: str) -> Checkpoint | None:
    """Return the checkpoint of a trial; None if there is none, or if it is damaged.

    Raises CheckpointError for one of a newer version or of another trial.
    """
    try:
        # torch does not look at the checksums of its archive.
        with zipfile.ZipFile(path) as archive:
            torn = archive.testzip()
        if torn is not None:
            raise zipfile.BadZipFile(f"{torn} is damaged")
        record = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError) as error:
        _log.warning("%s cannot be read (%s): the trial starts from its beginning", path, error)
        return None
    if record["version"] > VERSION:
        raise CheckpointError(
            f"{path} is of version {record['version']}, this thermolion reads {VERSION}: upgrade "
            "it, or remove the file to start the trial from its beginning"
        )
    if record["trial"] != trial:
        raise CheckpointError(
            f"{path} belongs to trial {record['trial']}: remove it, or put it in its place"
        )
    return Checkpoint(**known_fields(Checkpoint, record))


def parse(whole: bytes) -> Checkpoint:
    """Return the checkpoint in the bytes of a file that another rank has read and checked."""
    record = torch.load(io.BytesIO(whole), map_location="cpu", weights_only=True)
    return Checkpoint(**known_fields(Checkpoint, record))


def rng_state() -> dict[str, Any]:
    """Return the states of all global generators of this process, as plain types."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = cast("_NumpyState", np.random.get_state())
    state = {
        "python": [version, list(numbers), gauss],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_rng(state: Mapping[str, Any]) -> None:
    """Set the global generators to what `rng_state` has returned."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


def remove(path: Path) -> None:
    """Remove a checkpoint that is no longer needed, with what a killed writer left of it.

    The folders of a command go as well: that of its own state, and the one that it has run in.
    """
    for left in (path, *path.parent.glob(f"{path.name}.*")):
        left.unlink(missing_ok=True)
    for folder in (state_folder(path), run_folder(path)):
        shutil.rmtree(folder, ignore_errors=True)


def identify(path: Path) -> tuple[int, int] | None:
    """Return what tells the file at `path` from the next one there: its inode and mtime in ns."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def fingerprint(path: Path) -> str | None:
    """Return a digest that changes as a trial makes progress; None for no checkpoint.

    Equal for checkpoints of equal state, whatever their clocks, generators and tokens. The files
    of a command count, by name, size and time.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
        _digest((record["step"], record["logged"], record["state"]), digest.update)
    except Exception as error:  # a damaged one is as good as none, whatever torch makes of it
        files = sorted(state_folder(path).rglob("*"))
        if isinstance(error, FileNotFoundError) and not files:
            return None
        stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        _digest(stamps, digest.update)
    return digest.hexdigest()


def state_folder(path: Path) -> Path:
    """Return the folder beside a checkpoint in which a command may keep a state of its own."""
    return path.with_suffix(".state")


def run_folder(path: Path) -> Path:
    """Return the folder beside a checkpoint with what a command has written, and has printed."""
    return path.with_suffix(".run")


def _digest(value: Any, take: Callable[[bytes], None]) -> None:
    if isinstance(value, Mapping):
        value = list(value.items())
    if isinstance(value, torch.Tensor):
        take(f"{value.dtype}{tuple(value.shape)}".encode())
        take(value.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, (list, tuple)):
        take(b"[")
        for item in value:
            _digest(item, take)
        take(b"]")
    else:
        take(repr(value).encode())


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system lets a folder be synced
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
