"""The hours of a study as a table for a terminal, and as a JSON-ready record. Prints nothing."""

from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

from orchestrator.progress.hours import StudyHours
from slurm.job_hours import Hours
from tracking.columns import columns


def hours_json(hours: StudyHours) -> dict[str, Any]:
    """Return all hours by their names, those of each job among them."""
    return {
        "spent": _pair(hours.spent),
        "wasted": {kind: _pair(of_kind) for kind, of_kind in hours.wasted.items()},
        "start_up": _pair(hours.start_up),
        "reserved": _pair(hours.reserved),
        "open_jobs": hours.open_jobs,
        "planned": _pair(hours.planned),
        "spared": _pair(hours.spared),
        "cap": {"cpu": hours.cap.cpu_hours, "gpu": hours.cap.gpu_hours},
        "jobs": {job: _pair(taken) for job, taken in hours.jobs.items()},
    }


def hours_text(hours: StudyHours) -> str:
    """Return a table: a line for what was spent, what of it was wasted, and what is to come."""
    rows = [("hours", "CPU", "GPU", ""), _row("spent", hours.spent, "")]
    rows += [_row("  wasted", taken, kind) for kind, taken in sorted(hours.wasted.items())]
    if hours.start_up is not None:
        rows.append(_row("  start-up", hours.start_up, "set-up, imports, small jobs"))
    if hours.open_jobs or hours.reserved != Hours():
        jobs = f"{hours.open_jobs} job{'s' * (hours.open_jobs != 1)}"
        rows.append(_row("reserved", hours.reserved, f"the time limits of {jobs} in the queue"))
    rows.append(_row("planned", hours.planned, "what the trials without a result may take"))
    if hours.spared != Hours():
        rows.append(_row("spared", hours.spared, "by looks that have decided"))
    if hours.cap:
        cpu, gpu = ("-" if one is None else f"{one:g}" for one in astuple(hours.cap)[::-1])
        rows.append(("cap", cpu, gpu, ""))
    return columns(rows, right=(1, 2))


def report_rows(hours: StudyHours) -> list[tuple[str, str, str]]:
    """Return what a report says of the hours of a study: what was spent, wasted and spared."""
    rows = [("spent", hours.spent)]
    rows += [(f"wasted: {kind}", taken) for kind, taken in sorted(hours.wasted.items())]
    if hours.start_up is not None:
        rows.append(("start-up of jobs", hours.start_up))
    if hours.spared is not None and hours.spared != Hours():
        rows.append(("spared by looks, about", hours.spared))
    return [(label, _number(one.cpu), _number(one.gpu)) for label, one in rows]


def cap_line(hours: StudyHours) -> str:
    """Return how much of its cap a study has used, in a line."""
    spent = hours.cap.describe(hours.spent)
    reserved = hours.cap.describe(hours.spent + hours.reserved)
    return f"{spent} are spent, with what is queued or runs {reserved}"


def _row(label: str, hours: Hours | None, remark: str) -> tuple[str, str, str, str]:
    if hours is None:
        return label, "?", "?", "not known before a trial of each workload has ended"
    return label, _number(hours.cpu), _number(hours.gpu), remark


def _number(hours: float) -> str:
    return f"{hours:.3g}" if hours < 100 else f"{hours:.0f}"


def _pair(hours: Hours | None) -> Mapping[str, float] | None:
    return None if hours is None else {"cpu": hours.cpu, "gpu": hours.gpu}
