"""A study of one command, run in a lane, and what its events say."""

from pathlib import Path
from typing import Any

from jobs.contract.events import Event, read_events
from jobs.contract.layout import Layout
from jobs.contract.pack import Pack
from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import MetricSpec, UserWorkload
from jobs.lane import run_pack
from jobs.ranks.launch import Launch

READING = MetricSpec("val_accuracy", "test_accuracy", chance=0.1, unit="fraction")
HYPERPARAMETERS = {"lr": 1e-05, "betas": [0.9, 0.99], "nesterov": False}


def made(line: str, options: dict[str, Any] | None = None, **fields: Any) -> Trial:
    workload = UserWorkload("mine", command=line, options=options or {}, declared_metric=READING)
    candidate = Candidate("sgd[lr=1e-05]", "sgd", HYPERPARAMETERS)
    seeds = block_seeds(0, "compare", workload, 3)
    return Trial(workload, candidate, "compare", 3, seeds, **fields)


class Study:
    """A study of commands; `run` sends one through a lane in this process."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder / "studies", "own")
        self.code = folder / "code"
        self.code.mkdir()
        self.launch = Launch()
        self.sent = 0

    def write(self, name: str, text: str) -> None:
        (self.code / name).parent.mkdir(exist_ok=True)
        (self.code / name).write_text(text)

    def pack(self, trial: Trial, **fields: Any) -> Pack:
        self.sent += 1
        return Pack(self.layout, f"s{self.sent}", 0, (trial,), code_root=self.code, **fields)

    def run(self, line: str, **fields: Any) -> list[Event]:
        return self.run_trial(made(line), **fields)

    def run_trial(self, trial: Trial, **fields: Any) -> list[Event]:
        pack = self.pack(trial, **fields)
        run_pack(pack, self.launch)
        events = read_events(self.layout.event_log(pack.submission, 0, 0, 0))
        return [event for event in events if event.trial == trial.id]

    def run_script(self, text: str, *arguments: str) -> list[Event]:
        self.write("train.py", text)
        return self.run(" ".join(["python train.py", *arguments]))


def curve(events: list[Event]) -> dict[int, dict[str, float]]:
    return {e.payload["step"]: e.payload["metrics"] for e in events if e.type == "evaluated"}


def failure(events: list[Event]) -> tuple[str, str]:
    last = events[-1]
    assert last.type == "failed", last
    return last.payload["kind"], last.payload["error"]


# What a command is given.


def marked(mark: str) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "cmdline").read_text().split("\0"):
                found.append(int(process.name))
        except OSError:
            continue  # it has just ended
    return found


# Starts a worker in a session of its own, and one in the background; both outlive their parent.
