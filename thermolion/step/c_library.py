"""The C form of the step as a library: compiled on first use, kept in the user's cache folder.

Needs a C compiler (`$CC`, else `cc`) once for each version of the source and kind of machine;
whoever finds the library in the folder needs none. Knows nothing of the arithmetic.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from thermolion.errors import OperationError

SOURCE = Path(__file__).with_name("one_pass.c")
# None of them changes a bit from the arithmetic as written: a product and a sum stay two
# operations, and neither errno nor floating-point exceptions are looked at.
FLAGS = ("-std=c99", "-O3", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
# By what torch says of the processor: the vectors of x86-64-v3 and -v4, by names that compilers
# from before 2020 know as well.
_AVX2 = ("-mavx2", "-mfma")
WIDTHS = {"AVX2": _AVX2, "AVX512": (*_AVX2, *"-mavx512f -mavx512dq -mavx512bw -mavx512vl".split())}
_TIMEOUT_S = 300.0


class CompilerError(OperationError):
    """The C form of the step could not be compiled or loaded."""


@functools.cache
def load_library() -> ctypes.CDLL:
    """Return the library of `one_pass.c`, for the processor that torch runs on.

    Its threads are those of torch; if the compiler has no OpenMP that goes with torch's, there is
    one thread. Raises CompilerError.
    """
    flags = choose_flags()
    try:
        return _load((*flags, "-fopenmp"))
    except CompilerError:
        return _load(flags)


def choose_flags() -> tuple[str, ...]:
    """Return what to compile with: as wide as torch goes, so that both round alike."""
    return (*FLAGS, *WIDTHS.get(torch.backends.cpu.get_cpu_capability(), ()))


def _load(flags: tuple[str, ...]) -> ctypes.CDLL:
    """Return a library compiled with these flags, from the cache folder if it can be had there."""
    kind = _digest(SOURCE.read_bytes(), *flags, platform.machine(), platform.system())
    folder = find_cache_folder()
    command, version = _find_compiler()
    if version is None:  # bits depend on no compiler
        kept = sorted(folder.glob(f"one_pass-{kind}-*.so")) if folder else []
    else:
        kept = [folder / f"one_pass-{kind}-{_digest(version)}.so"] if folder else []
    for path in kept:
        with suppress(OSError):  # not there, torn, of another system, or no programs may be there
            return ctypes.CDLL(str(path))
    if version is None:
        raise CompilerError(
            f"no C compiler answers as {shlex.join(command)}: install one (gcc, clang), or name "
            "one in the variable CC"
        )
    with tempfile.TemporaryDirectory(prefix="thermolion-") as temporary:
        made = Path(temporary) / SOURCE.with_suffix(".so").name
        _compile(command, flags, made)
        library = _open_private(made)
        for path in kept:
            _keep(made, path)
    return library


def _digest(*parts: bytes | str) -> str:
    whole = hashlib.sha256()
    for part in parts:
        encoded = part.encode() if isinstance(part, str) else part
        whole.update(hashlib.sha256(encoded).digest())
    return whole.hexdigest()[:16]


def find_cache_folder() -> Path | None:
    """Return where libraries are kept, None if the user has no home."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if Path(named).is_absolute():  # as its specification says, others are passed over
        return Path(named) / "thermolion"
    with suppress(RuntimeError):
        return Path.home() / ".cache" / "thermolion"
    return None


def _find_compiler() -> tuple[list[str], bytes | None]:
    """Return the command of the C compiler and what it says of its version; None if it fails."""
    try:
        command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    except ValueError as error:
        raise CompilerError(f"the variable CC is {os.environ['CC']!r}: {error}") from error
    try:
        done = subprocess.run(
            [*command, "--version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return command, None
    return command, shlex.join(command).encode() + done.stdout


def _compile(command: list[str], flags: tuple[str, ...], out: Path) -> None:
    """Compile the source to a library at `out`; raises CompilerError with the compiler's words."""
    unlinked = out.with_suffix(".o")
    # Linked without -fopenmp: threads are to be those of the library that torch has loaded.
    link = ("-shared", *(flag for flag in flags if flag != "-fopenmp"))
    for arguments in ((*flags, "-c", SOURCE, "-o", unlinked), (*link, unlinked, "-o", out)):
        try:
            done = subprocess.run(
                [*command, *arguments],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=_TIMEOUT_S,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise CompilerError(f"{shlex.join(command)} failed: {error}") from error
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise CompilerError(
                f"{shlex.join([*command, *map(str, arguments)])} ended with "
                f"{done.returncode}: {said[-1000:]}"
            )


def _open_private(path: Path) -> ctypes.CDLL:
    """Load a library that is about to be deleted, wherever it lies."""
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        reason = error
    # No programs may lie in that folder. Memory is no folder.
    for descriptor in _memory_files(path.name):
        os.write(descriptor, path.read_bytes())
        with suppress(OSError):
            return ctypes.CDLL(f"/proc/self/fd/{descriptor}")
    raise CompilerError(f"what was compiled cannot be loaded: {reason}")


def _memory_files(name: str) -> Iterator[int]:
    """Yield the descriptor of a file in memory, if the system has such."""
    if hasattr(os, "memfd_create"):
        with suppress(OSError):
            descriptor = os.memfd_create(name)
            try:
                yield descriptor
            finally:
                os.close(descriptor)


def _keep(made: Path, path: Path) -> None:
    """Put a library into the cache folder, whole or not at all; without a folder, go without.

    One that lies there and could not be loaded is replaced: were it sound, and only no programs
    may lie there, nothing would be lost.
    """
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".so")
        beside = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(made.read_bytes())
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
