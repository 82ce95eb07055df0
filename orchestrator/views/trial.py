"""All that is known of one trial, as a JSON-ready record and as text. Prints nothing."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.contract.command_template import select_settings
from orchestrator.progress.status import TrialStatus, read_status
from orchestrator.study.estimate import in_words
from orchestrator.study.trial_lookup import FoundTrial
from orchestrator.sweep.document import SweepError
from tracking.columns import columns
from tracking.history import AttemptSummary
from tracking.outcomes import Outcome


def trial_record(found: FoundTrial) -> dict[str, Any]:
    """Return the record of a trial, JSON-ready; times are UTC in ms, durations in seconds."""
    study = found.study
    trial_status = _read_trial_status(found)
    outcome = trial_status.outcome
    logs = [study.layout.events / log for log in dict.fromkeys(a.log for a in outcome.attempt_log)]
    job = outcome.job
    output = study.layout.job_output(job["submission"], job["pack"]) if job else None
    return {
        "id": found.trial,
        "study": study.name,
        "planned": any(trial.id == found.trial for trial in study.trials),
        "state": trial_status.state,
        "carried_by": trial_status.carrier,
        "job": trial_status.job_id,
        "waits": trial_status.job and trial_status.job.waits,
        "config": outcome.trial.to_json(),
        "told": dict(select_settings(outcome.trial.workload, outcome.trial.candidate)),
        "attempts": [_attempt(attempt) for attempt in outcome.attempt_log],
        "curve": _curve(outcome),
        "metrics": dict(outcome.metrics),
        "train_seconds": outcome.train_seconds,
        "peak_memory_mb": outcome.peak_memory_mb,
        "nondeterministic": outcome.nondeterministic,
        "digests": dict(outcome.started.get("digests", {})) | {"weights": outcome.weights},
        "code": job.get("code"),
        "packages": job.get("packages", {}),
        "at_chance": outcome.at_chance,
        "error": outcome.error,
        "traceback": outcome.traceback,
        "held": None if trial_status.hold is None else trial_status.hold.error,
        "events": [str(log) for log in logs],
        "checkpoint": _checkpoint(study.layout.checkpoint(found.trial)),
        "job_output": None if output is None else str(output),
    }


def trial_text(record: Mapping[str, Any]) -> str:
    """Return the record of a trial as lines of label and content."""
    config = record["config"]
    labels = config["labels"]
    candidate = {**config["candidate"], "hyperparameters": record["told"]}
    candidate.pop("args", None)  # among what it was told
    planned = "" if record["planned"] else " (not in the sweep any more)"
    lines = [
        ("trial", f"{record['id']} of study {record['study']}{planned}"),
        ("state", record["state"]),
        ("job", _job_text(record)),
        ("workload", f"{labels['workload']}: {_settings(config['workload'])}"),
        ("candidate", f"{labels['candidate']}: {_settings(candidate)}{_searched_by(labels)}"),
        ("block", f"{config['block']}, phase {config['phase']}, {config['precision']}"),
        ("ranks", f"{config['world_size']}, {config['threads']} thread(s) each"),
        ("seeds", ", ".join(f"{k} {v}" for k, v in config["seeds"].items())),
    ]
    lines += [("attempt", _attempt_text(attempt)) for attempt in record["attempts"]]
    curve = record["curve"]
    if curve:
        steps = f"{curve['points']} points, steps {curve['first_step']} to {curve['last_step']}"
        lines.append(("curve", f"{steps}: {_numbers(curve['last'])}"))
    lines.append(("final", _numbers(record["metrics"])))
    if record["train_seconds"] is not None:
        lines.append(("trained", f"{record['train_seconds']:.2f} s"))
    if record["nondeterministic"]:
        lines.append(("note", "two attempts disagree on one step: nondeterministic"))
    lines += [
        ("digests", _settings(record["digests"])),
        ("code", record["code"]),
        *(("events", log) for log in record["events"]),
        ("checkpoint", _checkpoint_text(record["checkpoint"])),
        ("output", record["job_output"]),
        ("at chance", record["at_chance"]),
        ("held", record["held"]),
        ("error", record["error"]),
    ]
    text = columns([(label, content) for label, content in lines if content], gap=1)
    return f"{text}\n\n{record['traceback'].rstrip()}" if record["traceback"] else text


def _job_text(record: Mapping[str, Any]) -> str | None:
    waits = record["waits"]
    return record["job"] if waits is None else f"{record['job']}, which waits: {waits}"


def _searched_by(labels: Mapping[str, Any]) -> str:
    """Say which search has chosen the settings, if several have searched."""
    return f" (chosen by search {labels['search']})" if "search" in labels else ""


def _read_trial_status(found: FoundTrial) -> TrialStatus:
    status = read_status(found.study)
    if found.trial in status.planned:
        return status.planned[found.trial]
    for outcome in status.unplanned:
        if outcome.trial.id == found.trial:
            return TrialStatus(outcome, None)
    raise SweepError(f"trial {found.trial} is recorded, but every log of it was taken back")


def _attempt(attempt: AttemptSummary) -> dict[str, Any]:
    keys = ("generation", "log", "host", "device", "code", "started_ms", "ended_ms", "end", "step")
    return {key: getattr(attempt, key) for key in keys}


def _attempt_text(attempt: Mapping[str, Any]) -> str:
    begun = datetime.fromtimestamp(attempt["started_ms"] / 1000, UTC)
    took = ""
    if attempt["ended_ms"] is not None:
        took = f" after {in_words((attempt['ended_ms'] - attempt['started_ms']) / 1000)}"
    step = "" if attempt["step"] is None else f" at step {attempt['step']}"
    return (
        f"{begun:%Y-%m-%d %H:%M:%S} UTC on {attempt['host']} ({attempt['device']}), code "
        f"{attempt['code']}: {attempt['end'] or 'not heard of again'}{step}{took}"
    )


def _curve(outcome: Outcome) -> dict[str, Any] | None:
    if not outcome.curve:
        return None
    first, last = outcome.curve[0], outcome.curve[-1]
    return {
        "points": len(outcome.curve),
        "first_step": first.step,
        "last_step": last.step,
        "steps": outcome.started.get("steps"),
        "last": dict(last.metrics),
    }


def _checkpoint(path: Path) -> dict[str, Any]:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return {"path": str(path), "exists": False, "bytes": None, "age_s": None}
    age = max(0.0, time.time() - stat.st_mtime)
    return {"path": str(path), "exists": True, "bytes": stat.st_size, "age_s": age}


def _checkpoint_text(checkpoint: Mapping[str, Any]) -> str:
    if not checkpoint["exists"]:
        return "none"
    size = checkpoint["bytes"] / 2**20
    return f"{checkpoint['path']} ({size:.1f} MB, {in_words(checkpoint['age_s'])} old)"


def _settings(content: Mapping[str, Any]) -> str:
    given = {key: value for key, value in content.items() if value not in (None, [], {}, "")}
    return ", ".join(f"{key}={value}" for key, value in given.items())


def _numbers(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in metrics.items())
