"""Trainings for a real SLURM that do what tests want of them, and sweeps that name them."""

from pathlib import Path

from slurm_lab import Lab

SWEEP = """\
study: odd
workloads: [{name: mine, train: "odd:train", metric: loss, steps: 9}]
candidates: {a: {optimizer: sgd, lr: 0.1}}
seeds: 1
backend: slurm
pack: {at_least: 0s}
"""
# It goes on once the file `go` exists; until then it saves the same state whenever it is to stop.
WAITS = """\
import time
from pathlib import Path

def train(trial, context):
    step = (context.load() or {"step": 0})["step"]
    while not Path("GO").exists():
        if context.should_stop():
            context.save({"step": step})
            return
        time.sleep(0.05)
    context.log(step, loss=float(step))
    return {"loss": 0.5}
"""
# It needs 700 MB, and takes its time with them, so that whoever counts memory sees it.
HUNGRY = """\
import time

def train(trial, context):
    held = bytearray(700 * 2**20)
    for page in range(0, len(held), 4096):
        held[page] = 1
    for _ in range(100):
        time.sleep(0.05)
    context.log(1, loss=0.5)
"""


def odd(lab: Lab, text: str, more: str = "") -> tuple[Path, Path]:
    """Write a training and its sweep; return the sweep and the file `go`."""
    go = lab.folder / "go"
    (lab.folder / "odd.py").write_text(text.replace("GO", str(go)))
    return lab.write(SWEEP + more, "odd.yaml"), go


# Two trials, each a job of its own, that wait for `go`.
WAITING = """\
study: waiting
workloads: [{name: mine, train: "waits:train", metric: loss, steps: 1}]
candidates: {a: {optimizer: sgd, lr: 0.1}, b: {optimizer: sgd, lr: 0.2}}
seeds: 1
backend: slurm
pack: {at_least: 0s}
"""


def waiting(lab: Lab) -> tuple[Path, Path]:
    """Write the sweep `waiting.yaml` and its training; return the sweep and the file `go`."""
    go = lab.folder / "go"
    (lab.folder / "waits.py").write_text(WAITS.replace("GO", str(go)))
    return lab.write(WAITING, "waiting.yaml"), go


def script(lab: Lab, study: str, submission: str) -> str:
    """Return the batch script of a submission, as it was sent."""
    (sent,) = (lab.layout(study).submission(submission) / "scripts").glob("*_submission.sh")
    return sent.read_text()
