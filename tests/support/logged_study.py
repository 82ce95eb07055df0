"""A study whose trials have logged what a test says, without any training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.contract.events import EventLog
from jobs.contract.trial import Trial
from orchestrator.progress.status import read_status
from orchestrator.results.preregister import freeze
from orchestrator.study.study import Study, open_study
from orchestrator.submit.decide import decide

OPENED: Mapping[str, Any] = {"submission": "s1", "pack": 0, "lane": 0, "host": "n1", "code": "c0"}


@dataclass(frozen=True)
class Logged:
    """What one trial logs: (step, seconds, metrics) and its last metrics, on a `device`.

    It has diverged after these points if `final` is None.
    """

    curve: Sequence[tuple[int, float, Mapping[str, float]]]
    final: Mapping[str, float] | None = field(default_factory=dict)
    device: str = "cpu"


def record_study(folder: Path, text: str, logged: Callable[[Trial], Logged]) -> Study:
    """Record a study in `folder`/studies whose wanted trials have all ended, and its decisions."""
    path = folder / "logged.yaml"
    path.write_text(text)
    study = open_study(str(path), folder / "studies")
    study.record()
    status = read_status(study)
    freeze(study, status.stage, status.outcomes)
    for number, trial in enumerate(study.trials):
        said = logged(trial)
        log = EventLog(study.layout.event_log(f"s{number:03d}", 0, 0, 0), 0, free_bytes=0)
        log.append("opened", **OPENED, device=said.device)
        steps = trial.workload.steps or said.curve[-1][0]
        log.append("started", trial.id, config=trial.to_json(), token="t", steps=steps)
        seconds, step = 0.0, 0
        for step, seconds, metrics in said.curve:
            log.append("evaluated", trial.id, step=step, train_seconds=seconds, metrics=metrics)
        if said.final is None:
            log.append("diverged", trial.id, step=step, metrics={}, error="loss is nan")
        else:
            log.append("completed", trial.id, step=step, train_seconds=seconds, metrics=said.final)
        log.close()
    while decide(study, read_status(study)):
        pass
    return study
