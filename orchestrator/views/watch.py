"""Progress of a running study: a live table on a terminal, plain lines elsewhere."""

import re
import time
from collections.abc import Iterator

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobs.contract.trial import Candidate
from jobs.contract.workloads.workload import Workload
from orchestrator.progress.status import Status, TrialStatus, poll_status
from orchestrator.study.estimate import estimate, in_words
from orchestrator.study.study import Study
from orchestrator.submit.notify import send_notices
from orchestrator.submit.submit import send_remaining
from orchestrator.views.status import current, in_unit
from tracking.outcomes import Outcome, curve_position

_NUMBERS = re.compile(r"[0-9]+")
_LINE_EVERY_S = 10.0  # between two lines while nothing is completed


def watch(study: Study, console: Console) -> Status:
    """Show progress until no job of the study lives; return the last status."""
    show = _show_table if console.is_terminal else _print_lines
    return show(study, console)


def _show_table(study: Study, console: Console) -> Status:
    with Live(console=console, refresh_per_second=4) as live:
        for status in _poll(study):
            live.update(_table(study, status, console.width))
    return status


def _print_lines(study: Study, console: Console) -> Status:
    printed, printed_s = "", 0.0
    noted: set[str] = set()
    for status in _poll(study):
        for note in status.notes:
            alike = _NUMBERS.sub("", note)  # how many wait changes all the time
            if alike not in noted:
                noted.add(alike)
                console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
        line = _summary(study, status)
        done = line.partition(",")[0]
        if done != printed or time.monotonic() - printed_s > _LINE_EVERY_S:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
            printed, printed_s = done, time.monotonic()
    return status


def _poll(study: Study) -> Iterator[Status]:
    """Yield the status again and again; after each, send the remaining trials and the notices."""
    for status in poll_status(study):
        yield status
        if status.jobs_alive:
            send_remaining(study)
            send_notices(study, status)


def _summary(study: Study, status: Status) -> str:
    parts = [f"{status.done} of {len(status.wanted)} trials done"]
    parts += [
        f"{count} {state}"
        for state, count in status.counts.items()
        if state in ("running", "diverged", "failed", "held", "lost")
    ]
    reached: dict[str, list[str]] = {}
    for outcome in _list_running(status):
        value = current(outcome)
        if value is not None:
            name = outcome.trial.workload.metric_spec.metric.replace("_", " ")
            reached.setdefault(name, []).append(value)
    parts += [f"current {name} {', '.join(values)}" for name, values in reached.items()]
    return ", ".join([*parts, *_format_time_left(study, status)])


def _list_running(status: Status) -> list[Outcome]:
    return [one.outcome for one in status.planned.values() if one.state == "running"]


def _format_time_left(study: Study, status: Status) -> list[str]:
    ranks = sum(one.trial.world_size for one in _list_running(status))
    left = estimate(status.wanted, ranks or status.at_a_time, study.sweep.keys.resources.device)
    if left.seconds is None or status.done == len(status.wanted):
        return []
    return [f"about {in_words(left.seconds)} left"]


def _table(study: Study, status: Status, width: int) -> Group:
    table = Table(box=None, pad_edge=False)
    for heading in ("workload", "candidate"):
        table.add_column(heading)
    for heading in ("done", "running now", "last finished"):
        table.add_column(heading, justify="right")
    for workload in study.sweep.workloads:
        for candidate in study.sweep.candidates:
            cells = (workload.name, candidate.name, *_cells(status, workload, candidate))
            table.add_row(*map(Text, cells))  # plain: rich would read `adamw[lr=0.1]` as markup
    bar = ProgressBar(total=len(status.wanted), completed=status.done, width=min(24, width))
    foot = Table.grid(padding=(0, 2))
    foot.add_row(bar, Text(_summary(study, status)))
    return Group(table, foot, *map(Text, status.notes))


def _cells(status: Status, workload: Workload, candidate: Candidate) -> tuple[str, str, str]:
    """Return what is done, what runs now, and the last result, of a candidate on a workload."""
    here = [
        one
        for one in status.planned.values()
        if one.outcome.trial.workload.name == workload.name
        and one.outcome.trial.candidate.declared == candidate.name
    ]
    running = "  ".join(_format_progress(one) for one in here if one.state == "running")
    ended = [one.outcome for one in here if one.outcome.has_result]
    last = max(reversed(ended), key=lambda one: one.ended_ms or 0, default=None)
    return f"{len(ended)}/{len(here)}", running, "" if last is None else _format_final(last)


def _format_progress(trial_status: TrialStatus) -> str:
    outcome = trial_status.outcome
    workload, reached = outcome.trial.workload, current(outcome) or ""
    point = outcome.curve[-1] if outcome.curve else None
    at = 0 if point is None else curve_position(workload, point)
    whole = "" if workload.budget is None else f"/{workload.budget}"
    return f"{workload.unit} {at:.0f}{whole} {reached}".rstrip()


def _format_final(outcome: Outcome) -> str:
    spec = outcome.trial.workload.metric_spec
    value = outcome.metrics.get(spec.final_metric or spec.metric)
    return "" if value is None else in_unit(outcome, value)
