"""`make gpu` on a machine without a GPU."""

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[2]


def test_without_a_gpu_the_script_says_so_in_one_line_and_fails() -> None:
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    command = ["make", "--silent", "gpu", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=REPO, env=hidden, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stdout == ""
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(said) == 1
    assert said[0].startswith("no GPU: torch ")
