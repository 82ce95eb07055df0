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
from contextlib import suppress
from dataclasses import dataclass
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
_AVX512 = ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl")
WIDTHS = {"AVX2": _AVX2, "AVX512": (*_AVX2, *_AVX512)}
_TIMEOUT_S = 300.0
_SEAL = 32  # bytes of a digest of what is before it


class CompilerError(OperationError):
    """The C form of the step could not be compiled or loaded."""


@functools.cache
def load_library() -> ctypes.CDLL:
    """Return the library of `one_pass.c`, for the processor that torch runs on.

    Its threads are those of torch; if the compiler has no OpenMP that goes with torch's, there is
    one thread. Raises CompilerError.
    """
    compiler = _find_compiler()
    kinds = [(*choose_flags(), "-fopenmp"), choose_flags()]
    for flags in kinds:
        for path in _find_kept(flags, compiler):
            with suppress(OSError):
                return _open(path)
    if compiler.version is None:
        raise CompilerError(
            f"no C compiler answers as {shlex.join(compiler.command)}: install one (gcc, clang), "
            "or name one in the variable CC"
        )
    try:
        return _make(kinds[0], compiler)
    except CompilerError:
        return _make(kinds[1], compiler)


def choose_flags() -> tuple[str, ...]:
    """Return what to compile with: as wide as torch goes, so that both round alike."""
    return (*FLAGS, *WIDTHS.get(torch.backends.cpu.get_cpu_capability(), ()))


@dataclass(frozen=True)
class _Compiler:
    """A command, and what it says of its version; None if it cannot be run."""

    command: list[str]
    version: bytes | None


def _find_compiler() -> _Compiler:
    try:
        command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    except ValueError as error:
        raise CompilerError(f"the variable CC is {os.environ['CC']!r}: {error}") from error
    try:
        return _Compiler(command, _run([*command, "--version"]))
    except CompilerError:
        return _Compiler(command, None)


def find_cache_folder() -> Path | None:
    """Return where libraries are kept, None if the user has no home."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if Path(named).is_absolute():  # others are to be passed over, as its specification says
        return Path(named) / "thermolion"
    with suppress(RuntimeError):
        return Path.home() / ".cache" / "thermolion"
    return None


def _find_kept(flags: tuple[str, ...], compiler: _Compiler) -> list[Path]:
    """Return sound libraries in the cache folder that were compiled from this source like this.

    If there is no compiler, any will do that made one here: no bit depends on which.
    """
    path = _place(flags, compiler)
    if path is None:
        return []
    maker = "*" if compiler.version is None else path.stem.rpartition("-")[2]
    with suppress(OSError):
        found = sorted(path.parent.glob(f"{path.stem.rpartition('-')[0]}-{maker}.so"))
        return [each for each in found if _is_own(each) and _is_whole(each.read_bytes())]
    return []


def _place(flags: tuple[str, ...], compiler: _Compiler) -> Path | None:
    """Return where a library is kept: named after all that it depends on."""
    folder = find_cache_folder()
    kind = _digest(SOURCE.read_bytes(), *flags, platform.machine(), platform.system())
    maker = _digest(shlex.join(compiler.command), compiler.version or b"")
    return None if folder is None else folder / f"one_pass-{kind}-{maker}.so"


def _digest(*parts: bytes | str) -> str:
    whole = hashlib.sha256()
    for part in parts:
        encoded = part.encode() if isinstance(part, str) else part
        whole.update(hashlib.sha256(encoded).digest())
    return whole.hexdigest()[:16]


def _is_whole(sealed: bytes) -> bool:
    """Return True for what `_keep` has written: using a torn library would end the process."""
    return len(sealed) > _SEAL and hashlib.sha256(sealed[:-_SEAL]).digest() == sealed[-_SEAL:]


def _is_own(path: Path) -> bool:
    """Return True if nobody but this user, and root, can have written a library.

    Loading it runs it, and a cache folder may be one that several users share.
    """
    users = {os.geteuid(), 0}
    found = [path.stat(), path.parent.stat()]
    return all(one.st_uid in users and not one.st_mode & 0o022 for one in found)


def _make(flags: tuple[str, ...], compiler: _Compiler) -> ctypes.CDLL:
    """Compile the library, load it, and keep it if that is possible."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="thermolion-", ignore_cleanup_errors=True)
    except OSError as error:
        raise CompilerError(f"there is no folder to compile it in: {error}") from error
    with folder as temporary:
        made = Path(temporary) / "one_pass.so"
        _compile(compiler.command, flags, made)
        try:
            library = _open(made)
        except OSError as error:
            raise CompilerError(f"what was compiled cannot be loaded: {error}") from error
        path = _place(flags, compiler)
        if path is not None:
            _keep(made.read_bytes(), path)
    return library


def _compile(command: list[str], flags: tuple[str, ...], out: Path) -> None:
    """Compile the source to a library at `out`."""
    unlinked = str(out.with_suffix(".o"))
    _run([*command, *flags, "-c", str(SOURCE), "-o", unlinked])
    # Without -fopenmp: threads are to be those of the library that torch has loaded.
    plain = [flag for flag in flags if flag != "-fopenmp"]
    _run([*command, *plain, "-shared", unlinked, "-lm", "-o", str(out)])


def _run(command: list[str]) -> bytes:
    """Return what a command prints; raises CompilerError with its last words if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CompilerError(f"{command[0]} failed: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise CompilerError(f"{shlex.join(command)} ended with {done.returncode}: {said[-1000:]}")
    return done.stdout


def _open(path: Path) -> ctypes.CDLL:
    """Load a library, by way of memory if no program may lie in its folder; raises OSError."""
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        if not hasattr(os, "memfd_create"):
            raise
        descriptor = os.memfd_create(path.name)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(path.read_bytes())
            return ctypes.CDLL(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)


def _keep(content: bytes, path: Path) -> None:
    """Put a library into the cache folder, whole or not at all; if that fails, go without.

    Of two processes at once, the second leaves the first one's: a machine that has loaded it over
    a network would lose its file.
    """
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".so")
        beside = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content + hashlib.sha256(content).digest())
                file.flush()
                os.fsync(file.fileno())
            if not (path.exists() and _is_own(path) and _is_whole(path.read_bytes())):
                beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
