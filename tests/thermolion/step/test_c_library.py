"""Compiling the step in C on first use and keeping it, whatever is missing, torn or forbidden."""

import ctypes
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from thermolion import ThermoLion
from thermolion.step import c_library


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder with odd characters in its path; nothing is loaded yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "it's a cache, %s"))
    monkeypatch.delenv("CC", raising=False)
    c_library.load_library.cache_clear()
    yield tmp_path / "it's a cache, %s" / "thermolion"
    c_library.load_library.cache_clear()


def _step() -> None:
    param = nn.Parameter(torch.ones(3))
    param.grad = torch.ones(3)
    ThermoLion([param], noise=False, weight_decay=0, lr=1.0, fused=True).step()
    ratio = torch.tensor(0.1) / torch.tensor(0.01).sqrt()
    expected = 1 - (1.5 * (1 - ratio.tanh()) + 2 * ratio * ratio.tanh())
    assert param.tolist() == pytest.approx([expected.item()] * 3, abs=1e-6)


def _restart() -> None:
    """Forget what is loaded, as a new process does."""
    c_library.load_library.cache_clear()


def test_a_first_use_compiles_and_a_second_one_finds_what_was_compiled(cache: Path) -> None:
    _step()
    (kept,) = cache.iterdir()
    assert kept.name.startswith("one_pass-")
    assert kept.suffix == ".so"
    before = kept.stat()
    _restart()
    _step()
    (kept,) = cache.iterdir()
    assert kept.stat().st_mtime_ns == before.st_mtime_ns


def test_without_a_compiler_fused_is_refused_and_nothing_else_is(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    param = nn.Parameter(torch.ones(3))
    with pytest.raises(
        ValueError, match=r"fused is true, but .* no-such-compiler -m64: install one .* CC"
    ):
        ThermoLion([param], fused=True)
    ThermoLion([param])
    ThermoLion(
        [nn.Parameter(torch.ones(3).double())], fused=True
    )  # is stepped by another form anyway
    assert not cache.exists()


def test_without_a_folder_to_compile_in_fused_is_refused_and_nothing_else_is(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(cache / "missing"))
    param = nn.Parameter(torch.ones(3))
    with pytest.raises(ValueError, match=r"fused is true, but .* no folder .*missing"):
        ThermoLion([param], fused=True)
    ThermoLion([param])


def test_what_a_machine_with_a_compiler_has_kept_serves_one_without(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _step()
    _restart()
    monkeypatch.setenv("CC", "no-such-compiler")
    _step()
    assert len(list(cache.iterdir())) == 1


def test_another_compiler_keeps_a_library_of_its_own(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _step()
    _restart()
    other = _write_compiler(tmp_path / "my cc", 'exec cc "$@"')
    monkeypatch.setenv("CC", f"'{other}'")
    _step()
    assert len(list(cache.iterdir())) == 2


def _write_compiler(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_what_a_compiler_says_when_it_fails_is_told(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = _write_compiler(
        tmp_path / "broken", '[ "$1" = --version ] || { echo "no space left" >&2; exit 3; }'
    )
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(ValueError, match=r"(?s)one_pass\.c.* ended with 3: no space left"):
        ThermoLion([nn.Parameter(torch.ones(3))], fused=True)
    assert not cache.exists()


def test_a_compiler_without_threads_gives_a_step_of_one_thread(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _write_compiler(
        tmp_path / "plain", 'case " $* " in *" -fopenmp "*) exit 1;; esac; exec cc "$@"'
    )
    monkeypatch.setenv("CC", str(plain))
    _step()
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(before) == 1
    _restart()
    _step()
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before


@pytest.mark.parametrize("length", [0, 100, -1, 20_000])
def test_a_torn_library_is_compiled_anew(cache: Path, length: int) -> None:
    _step()
    (kept,) = cache.iterdir()
    sound = kept.read_bytes()
    kept.unlink()  # what is loaded keeps its file
    kept.write_bytes(sound[:length])
    _restart()
    _step()
    assert len(kept.read_bytes()) == len(sound)


@pytest.mark.parametrize("what", ["library", "folder"])
def test_a_library_that_others_may_have_written_is_not_loaded(
    cache: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    _step()
    (kept,) = cache.iterdir()
    (kept if what == "library" else cache).chmod(0o777)
    _restart()
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ValueError, match="no C compiler answers"):
        _step()


def test_a_cache_folder_that_cannot_be_written_to_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    _step()
    assert not cache.exists()


def test_a_relative_cache_folder_and_a_missing_home_are_passed_over(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    _step()
    assert list(tmp_path.glob("home/.cache/thermolion/one_pass-*.so"))
    assert not (tmp_path / "relative").exists()
    assert not cache.exists()


_FORK = multiprocessing.get_context("fork")


def _run_forked(target: object, count: int) -> list[int | None]:
    """Return the exit codes of processes that call `target` at once."""
    # torch's threads are not forked, and a child of one thread steps in one.
    children = [_FORK.Process(target=target) for _ in range(count)]  # type: ignore[arg-type]  # a function
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    return [child.exitcode for child in children]


def _step_in_one_thread() -> None:
    torch.set_num_threads(1)
    _step()


def test_processes_that_compile_at_once_leave_one_whole_library(cache: Path) -> None:
    assert _run_forked(_step_in_one_thread, 3) == [0, 0, 0]
    (kept,) = cache.iterdir()
    before = kept.stat().st_mtime_ns
    _step()
    assert kept.stat().st_mtime_ns == before


_NO_MOUNT = 77
_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000  # of sched.h
_NO_PROGRAMS, _PRIVATE_BELOW = 8, 0x4000 | 0x40000  # of mount.h


def _step_beside_no_programs() -> None:
    """Step with both folders, of the cache and for temporary files, where no programs may lie."""
    folder = Path(os.environ["XDG_CACHE_HOME"])
    folder.mkdir()
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNTS if user == 0 else _NEW_MOUNTS | _NEW_USER):
        os._exit(_NO_MOUNT)
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    place = str(folder).encode()
    if libc.mount(b"none", b"/", None, _PRIVATE_BELOW, None) or libc.mount(
        b"tmpfs", place, b"tmpfs", _NO_PROGRAMS, None
    ):
        os._exit(_NO_MOUNT)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    for _ in range(2):
        _restart()
        _step_in_one_thread()


@pytest.mark.skipif(sys.platform != "linux", reason="mounts as Linux does")
def test_folders_in_which_no_programs_may_lie_are_no_obstacle(cache: Path) -> None:
    (code,) = _run_forked(_step_beside_no_programs, 1)
    if code == _NO_MOUNT:
        pytest.skip("needs the right to mount a folder in a user namespace")
    assert code == 0
    assert cache.parent.is_dir()
    assert not cache.exists()  # the mount was the child's alone
