"""What the kernel has killed for want of memory: nobody tells the process, nor always SLURM.

Reads Linux's count of such kills; elsewhere there is none, and nothing is said.
"""

import contextlib
import os
import subprocess
from pathlib import Path

OOM_SUFFIX = ".oom"  # of the file that says that the kernel has killed a pack for its memory
VMSTAT = Path("/proc/vmstat")
# The witness looks every five seconds, so that only a kill of the last moments counts; the end of
# its input is the death of the process that it watches. It has no other process of its own.
_WITNESS = """\
look() { now=0; while read -r key count; do
  [ "$key" = oom_kill ] && now=$count; done < "$1"; }
exec 3<&0 < /dev/null > /dev/null 2>&1
look "$1"; before=$now
{ while read -t 5 -u 3; [ $? -gt 128 ]; do look "$1"; before=$now; done
  look "$1"; [ "$now" -gt "$before" ] && : > "$2"
} &
"""


def count_oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory (Linux; else 0)."""
    lines = _read(VMSTAT).splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def start_witness(mark: Path, vmstat: Path = VMSTAT) -> int | None:
    """Have a small process write `mark` if the kernel kills this one for want of memory.

    It ends with this process, and is no child of it: whoever ends what a job has left behind does
    not find it at once. Return the file descriptor that tells it of the end of this process when
    it is closed; None if there is no such count here, or no bash.
    """
    mark.unlink(missing_ok=True)
    if "oom_kill " not in _read(vmstat):
        return None
    reading, writing = os.pipe()
    try:
        subprocess.run(
            ["bash", "-c", _WITNESS, "witness", str(vmstat), str(mark)],
            stdin=reading,
            start_new_session=True,
            check=False,
        )
    except OSError:
        os.close(writing)
        return None
    finally:
        os.close(reading)
    return writing


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""
