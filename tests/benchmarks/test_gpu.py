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


def test_without_torch_the_script_says_which_python_and_what_to_give() -> None:
    command = [sys.executable, "-S", "-m", "benchmarks.gpu", "--rehearse"]  # -S: nothing installed
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.splitlines() == [
        f"{sys.executable} has no torch: name a Python that has it, make gpu PYTHON=…"
    ]
