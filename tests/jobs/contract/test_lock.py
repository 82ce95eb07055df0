"""Locks between processes: who may enter, what the others are told, what the dead leave behind."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.contract import lock as lock_module
from jobs.contract.lock import Lock, LockHeld

_HOLD = """
import sys, time
from pathlib import Path
from jobs.contract.lock import Lock
with Lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

# Every process adds one to a number in a file, many times; without a lock some would be lost.
_COUNT = """
import sys, time
from pathlib import Path
from jobs.contract.lock import Lock, LockHeld
lock, number = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(40):
    while True:
        try:
            with Lock(lock):
                now = int(number.read_text())
                time.sleep(0.001)
                number.write_text(str(now + 1))
            break
        except LockHeld:
            time.sleep(0.002)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def _holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_the_lock_is_a_file_while_it_is_held_and_gone_afterwards(path: Path) -> None:
    with Lock(path):
        assert {"host", "pid", "user", "since"} <= json.loads(path.read_text()).keys()
    assert list(path.parent.iterdir()) == []


def test_an_error_inside_releases_the_lock(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Lock(path):
        _ = 1 / 0
    assert not path.exists()


def test_a_second_process_is_told_who_holds_it_and_what_to_do(path: Path) -> None:
    process = _holder(path)
    try:
        with pytest.raises(LockHeld) as raised, Lock(path):
            pass
    finally:
        _end(process)
    for part in (str(process.pid), socket.gethostname(), "sign of life", "--break-lock"):
        assert part in str(raised.value)


def test_the_lock_of_a_killed_process_is_taken_over(path: Path) -> None:
    _end(_holder(path))
    assert path.exists()
    with Lock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(path.parent.iterdir()) == []


def test_a_holder_that_ends_while_it_is_looked_at_has_ended(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = _holder(path)
    _end(ended)
    read = Path.read_text

    def read_text(file: Path, **options: str) -> str:
        if file == Path(f"/proc/{ended.pid}/stat"):
            raise ProcessLookupError(3, "No such process")  # by Linux, between open and read
        return read(file, **options)

    monkeypatch.setattr(Path, "read_text", read_text)
    with Lock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_later_process_of_the_same_pid_is_not_mistaken_for_the_holder(path: Path) -> None:
    with Lock(path):
        record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"start": record["start"] - 1}))
    with Lock(path):
        pass


def test_a_lock_of_another_host_is_broken_on_request_alone(path: Path) -> None:
    with Lock(path):
        record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"host": "elsewhere"}))
    with pytest.raises(LockHeld, match="on elsewhere"), Lock(path):
        pass
    with Lock(path, break_lock=True):
        assert json.loads(path.read_text())["host"] == socket.gethostname()


def test_an_unreadable_lock_is_never_broken_unasked(path: Path) -> None:
    path.write_text("")
    with pytest.raises(LockHeld, match="--break-lock"), Lock(path):
        pass
    with Lock(path, break_lock=True):
        pass


def test_a_holder_whose_lock_was_broken_leaves_the_new_one_alone(path: Path) -> None:
    with Lock(path):
        new = Lock(path, break_lock=True)
        new.__enter__()
    assert path.exists()
    new.__exit__(None, None, None)
    assert not path.exists()


def test_the_heart_beats_while_the_lock_is_held(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT_S", 0.01)
    with Lock(path):
        os.utime(path, (0, 0))
        until = time.monotonic() + 10
        while path.stat().st_mtime == 0:
            assert time.monotonic() < until
            time.sleep(0.01)


def _guard(lock: Path) -> Path:
    """Return the file that the process holds which removes a lock of a dead one."""
    record = json.loads(lock.read_text())
    token = f"{record['pid']}-{record['start']}-{int(1000 * record['since'])}"
    return lock.with_name(f"{lock.name}.{token}.breaking")


def test_what_processes_leave_that_died_while_they_removed_a_lock_is_removed_by_the_next_one(
    path: Path,
) -> None:
    left = [path]
    for _ in range(3):
        _end(_holder(left[-1]))
        left.append(_guard(left[-1]))
    with Lock(path):
        assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_while_a_living_process_removes_a_lock_the_next_one_waits_for_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "_BREAKING_S", 0.3)
    _end(_holder(path))
    with Lock(_guard(path)), pytest.raises(LockHeld, match="breaking is held by"), Lock(path):
        pass
    with Lock(path):
        pass


def test_a_guard_that_says_nothing_is_named_and_broken_if_that_is_asked_for(path: Path) -> None:
    _end(_holder(path))
    guard = _guard(path)
    guard.touch()
    with pytest.raises(LockHeld, match=r"breaking does not say who holds it"), Lock(path):
        pass
    with Lock(path, break_lock=True):
        assert not guard.exists()


def test_of_many_processes_one_at_a_time_is_inside_even_as_they_find_a_dead_holder(
    path: Path, tmp_path: Path
) -> None:
    number = tmp_path / "number"
    number.write_text("0")
    _end(_holder(path))
    command = [sys.executable, "-c", _COUNT, str(path), str(number)]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    assert number.read_text() == "160"
