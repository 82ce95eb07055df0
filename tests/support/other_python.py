"""A Python without thermolion and torch, and a script that only it can run."""

import venv
from pathlib import Path

SCRIPT = """\
import importlib.util
import sys
import thermolion

assert importlib.util.find_spec("torch") is None, "this is not the other Python"
print("runs in", sys.prefix)
for step in range(3):
    thermolion.log(step, val=step / 4)
thermolion.log_final(val=0.75)
assert thermolion.state_dir().is_dir() and not thermolion.should_stop()
"""
SWEEP = """\
study: other
workloads: [{name: w, command: "%s train.py {--lr} {--seed}", metric: val, final_metric: val}]
candidates: {adamw: {lr: [0.1, 0.2]}}
seeds: 1
"""
FINALS = [0.75, 0.75]


def make_project(folder: Path, program: str, environment: Path) -> Path:
    """Write script and sweep into `folder`, a Python of their own into `environment`.

    Return the path of the sweep.
    """
    venv.create(environment, symlinks=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(SCRIPT)
    sweep = folder / "other.yaml"
    sweep.write_text(SWEEP % program)
    return sweep
