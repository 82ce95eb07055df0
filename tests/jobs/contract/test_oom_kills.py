"""A process that the kernel has killed for want of memory leaves a mark, any other one none."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import wait_for

from jobs.contract import oom_kills

DIES = """\
import os, signal, sys
from pathlib import Path
from jobs.contract.oom_kills import start_witness
vmstat = Path(sys.argv[1])
assert start_witness(Path(sys.argv[2]), vmstat) is not None
if sys.argv[3] == "oom":
    vmstat.write_text("nr_free_pages 7\\noom_kill 4\\n")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("why", ["oom", "else"])
def test_only_a_kill_for_want_of_memory_leaves_a_mark(tmp_path: Path, why: str) -> None:
    vmstat, mark = tmp_path / "vmstat", tmp_path / "0.oom"
    vmstat.write_text("nr_free_pages 9\noom_kill 3\n")
    done = subprocess.run([sys.executable, "-c", DIES, str(vmstat), str(mark), why])
    assert done.returncode == -signal.SIGKILL
    if why == "oom":
        wait_for(mark.exists)
    else:
        time.sleep(0.3)
        assert not mark.exists()


def test_a_system_without_such_a_count_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 9\n")
    assert oom_kills.start_witness(tmp_path / "0.oom", tmp_path / "vmstat") is None
