"""Scripts in a lane whose results are read from what they print and write."""

from dataclasses import replace
from typing import Any

from commands import Study, made

from jobs.contract.events import Event
from jobs.contract.trial import Trial
from jobs.contract.workloads.result_sources import sources_from_json
from jobs.contract.workloads.workload import MetricSpec

ACCURACY = MetricSpec("acc")


def reading(*sources: dict[str, Any], spec: MetricSpec = ACCURACY, **fields: Any) -> Trial:
    """Return the trial of `train.py` that is read from `sources`, as trials carry them."""
    trial = made(fields.pop("command", "python train.py"))
    results = sources_from_json(sources)
    workload = replace(trial.user_workload, declared_metric=spec, results=results, **fields)
    return replace(trial, workload=workload)


def run(study: Study, script: str, *sources: dict[str, Any], **fields: Any) -> list[Event]:
    """Run a script to its end; return the events of its trial."""
    code = fields.pop("code", None)
    study.write("train.py", script)
    return study.run_trial(reading(*sources, **fields), code=code)


def points(events: list[Event], metric: str) -> dict[int, float]:
    """Return the curve of one metric: its values by step."""
    evaluated = (event.payload for event in events if event.type == "evaluated")
    return {one["step"]: one["metrics"][metric] for one in evaluated if metric in one["metrics"]}
