"""Faults of files and clocks: a folder that cannot be written, files seen late, time jumps."""

import os
import subprocess
from pathlib import Path

from chaos_run import ChaosRun
from schedule import Planned
from targets import Missed

_STEP_S = 2 * 3600.0  # a clock is off by, at most, to either side
_LATE_S = 3.0  # until others see a file, at most


def events_read_only(run: ChaosRun, planned: Planned) -> None:
    """Let nobody create or write a log, those included who have theirs open."""
    folder = run.layout.events
    logs = sorted(folder.glob("*.jsonl"))
    if not logs:
        raise Missed("no log yet")
    _lock([*logs, folder], locked=True)
    run.break_until("events folder", planned.seconds, lambda: _lock([folder, *logs], locked=False))


def step_a_clock(run: ChaosRun, planned: Planned) -> None:
    """Set the clock of a machine, forward or back; it stays so."""
    machines = ["login", *run.cluster.shape.names]
    machine = planned.choose(machines)
    part = planned.target * len(machines) % 1
    run.disturb(f"clock.{machine}", (2 * part - 1) * _STEP_S * 1e9)


def late_files(run: ChaosRun, planned: Planned) -> None:
    run.disturb("late", 1 + planned.target * (_LATE_S - 1))
    run.break_until("late files", 3 * planned.seconds, lambda: run.disturb("late", 0))


def can_lock(folder: Path) -> bool:
    """Return True if a file can be made one that its owner cannot write."""
    probe = folder / "probe"
    probe.touch()
    try:
        _lock([probe], locked=True)
        _lock([probe], locked=False)
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        probe.unlink()
    return True


def can_mark(folder: Path) -> bool:
    """Return True if a file can carry an attribute, by which it is seen late."""
    probe = folder / "probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.made", b"x")
    except OSError:
        return False
    finally:
        probe.unlink()
    return True


def _lock(paths: list[Path], locked: bool) -> None:
    """For root a mode is no obstacle, and an open file none for anybody: be immutable."""
    subprocess.run(["chattr", "+i" if locked else "-i", *map(str, paths)], check=True)
