"""Faults of files and clocks: a folder that cannot be written, files seen late, time jumps."""

import os
import subprocess
from pathlib import Path

from schedule import Planned
from siege import Siege
from targets import Missed

_STEP_S = 2 * 3600.0  # a clock is off by, at most, to either side
_LATE_S = 3.0  # until others see a file, at most


def events_read_only(siege: Siege, planned: Planned) -> None:
    """Let nobody create or write a log, those included who have theirs open."""
    folder = siege.layout.events
    logs = sorted(folder.glob("*.jsonl"))
    if not logs:
        raise Missed("no log yet")
    _lock([*logs, folder], locked=True)
    siege.breaks("events folder", planned.seconds, lambda: _lock([folder, *logs], locked=False))


def step_a_clock(siege: Siege, planned: Planned) -> None:
    """Set the clock of a machine, forward or back; it stays so."""
    machines = ["login", *siege.cluster.shape.names]
    machine = planned.choose(machines)
    part = planned.target * len(machines) % 1
    siege.turn_to(f"clock.{machine}", (2 * part - 1) * _STEP_S * 1e9)


def late_files(siege: Siege, planned: Planned) -> None:
    siege.turn_to("late", 1 + planned.target * (_LATE_S - 1))
    siege.breaks("late files", 3 * planned.seconds, lambda: siege.turn_to("late", 0))


def can_lock(folder: Path) -> bool:
    """Whether a file can be made one that its owner cannot write."""
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
    """Whether a file can carry an attribute, by which it is seen late."""
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
