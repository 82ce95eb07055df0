"""The state of trials and the stage of a study, in words and as JSON-ready records.

What ended a trial and what is next for it, the values it has reached, the looks. Prints nothing.
"""

from collections.abc import Sequence
from typing import Any

from jobs.contract.trial import Candidate
from orchestrator.progress.retry_policy import Failure
from orchestrator.progress.status import Status, TrialStatus
from orchestrator.sweep.search_space import TunedCandidate
from tracking.outcomes import Outcome

_LONGEST_REASON = 40  # characters in the line of a trial
_LONGEST = 3  # nodes and candidates named in a line


def prospect_json(trial_status: TrialStatus) -> dict[str, Any]:
    """Return class, cause, node, what is next and its job, as fields of a trial."""
    failure = trial_status.failure
    kind = "DIVERGED" if trial_status.state == "diverged" else failure and failure.kind
    return {
        "class": kind,
        "why": failure and failure.why,
        "node": failure.node if failure else trial_status.outcome.job.get("host"),
        "next": next_step(trial_status),
        "job": trial_status.job_id,
        "waits": trial_status.job and trial_status.job.waits,
    }


def next_step(trial_status: TrialStatus) -> str | None:
    """Say what is next for a trial without a result, unless its job is simply under way."""
    if trial_status.outcome.has_result:
        return None
    if trial_status.in_flight:
        waits = None if trial_status.job is None else trial_status.job.waits
        is_held = waits is not None and "held" in waits.lower()
        if trial_status.is_requeued and not is_held:
            return "requeued: it goes on by itself"
        held = f"held in the queue ({waits})" if is_held else None
        return f"requeued, and {held}" if held and trial_status.is_requeued else held
    if trial_status.wanted != "now":
        is_later = trial_status.wanted == "later"
        return "waits for a decision" if is_later else "never runs: it is spared"
    if not trial_status.goes_again:
        return "left alone until `thermolion retry`"
    failure = trial_status.failure
    if trial_status.awaits_person:
        return "held until `thermolion submit` or `thermolion release`"
    if failure is None and trial_status.state == "interrupted":
        return "cancelled: the next submit goes on with it"
    return "the next submit sends it" + ("" if failure is None else _format_retry(failure))


def reason(trial_status: TrialStatus) -> str:
    """Return class, node, attempts and what is next in a line; empty if it has not failed."""
    failure = trial_status.failure
    if failure is None or trial_status.in_flight:
        says_more = trial_status.in_flight or trial_status.state == "interrupted"
        next_one = next_step(trial_status) if says_more else None
        return "" if next_one is None else f"[{next_one}]"
    where = "" if failure.node is None else f" on {failure.node}"
    count = trial_status.outcome.attempts
    tries = f" in attempt {count}" if count > 1 else ""
    why = "" if trial_status.outcome.error else f": {failure.why.splitlines()[0]}"
    return f"[{failure.kind}{where}{tries}{why}; {next_step(trial_status)}]"


def job_words(trial_status: TrialStatus) -> str:
    """Return the job that carries a trial now, and why it waits; empty without one."""
    job = trial_status.job
    if job is None or trial_status.outcome.has_result:
        return ""
    if job.waits is None:
        return f"[job {job.id}]"
    why = job.waits if len(job.waits) <= _LONGEST_REASON else f"{job.waits[:_LONGEST_REASON]}…"
    return f"[job {job.id} waits: {why}]"


def group_lines(status: Status) -> list[str]:
    """Return a line for every class of what ended without an exception, and what is next."""
    alike: dict[tuple[str, bool], list[TrialStatus]] = {}
    for trial_status in status.unfinished:
        if trial_status.failure is not None and trial_status.state != "failed":
            key = trial_status.failure.kind, trial_status.goes_again
            alike.setdefault(key, []).append(trial_status)
    return [_group(kind, members) for (kind, _), members in alike.items()]


def _group(kind: str, members: Sequence[TrialStatus]) -> str:
    nodes = [s.failure.node for s in members if s.failure is not None and s.failure.node]
    where = f" on {_shorten(nodes)}" if nodes else ""
    who = _shorten([s.outcome.trial.candidate.name for s in members])
    first = members[0]
    why = first.failure.why.splitlines()[0] if first.failure and first.failure.why else ""
    return (
        f"{len(members)} ended by {kind}{where} ({who}), for example {first.outcome.trial.id}: "
        f"{why}; {next_step(first)}"
    )


def _shorten(names: Sequence[str]) -> str:
    known = list(dict.fromkeys(names))
    more = f" and {len(known) - _LONGEST} more" if len(known) > _LONGEST else ""
    return ", ".join(known[:_LONGEST]) + more


def _format_retry(failure: Failure) -> str:
    parts = []
    if failure.need.mem != 1:
        parts.append(f"with {failure.need.mem:g} times the memory")
    if failure.need.time != 1:
        parts.append(f"with {failure.need.time:g} times the time")
    if failure.retries is not None and failure.used:
        parts.append(f"retry {failure.used} of {failure.retries}")
    return f" ({', '.join(parts)})" if parts else ""


def current(outcome: Outcome) -> str | None:
    """Return the last value of the curve's metric, None before one."""
    name = outcome.trial.workload.metric_spec.metric
    values = [point.metrics[name] for point in outcome.curve if name in point.metrics]
    return in_unit(outcome, values[-1]) if values else None


def final(outcome: Outcome) -> str | None:
    """Return the final metric with its name, or the rung that ended it early; None without one."""
    if outcome.rung is not None:
        return f"ended early, at {outcome.trial.workload.unit} {outcome.rung}"
    spec = outcome.trial.workload.metric_spec
    name = spec.final_metric or spec.metric
    if name not in outcome.metrics:
        return None
    label = name.replace("_", " ")
    return f"{label} {in_unit(outcome, outcome.metrics[name], digits=2)}"


def in_unit(outcome: Outcome, value: float, digits: int = 1) -> str:
    """Write a value: fractions and percentages as such, anything else as a plain number."""
    unit = outcome.trial.workload.metric_spec.unit
    if unit == "plain":
        return f"{value:.4g}"
    return f"{100 * value if unit == 'fraction' else value:.{digits}f} %"


def stage_lines(status: Status) -> list[str]:
    """Return lines on tuning, pilots and looks; none for a study without any of them."""
    stage, lines = status.stage, _tuning_lines(status)
    pilots = [one for one in status.outcomes if one.trial.phase == "pilot"]
    if stage.awaits_targets:
        ended = sum(one.has_result for one in pilots)
        lines.append(
            f"pilots first: {ended} of {len(pilots)} trials of the baseline have ended; targets "
            "are made from them, then the comparison begins"
        )
    elif pilots:
        listed = ", ".join(
            f"{name} {'none' if target is None else f'{target:.4g}'}"
            for name, target in stage.targets.items()
        )
        lines.append(f"targets from pilots: {listed}")
    if not stage.looks:
        return lines
    if stage.next_look is not None:
        seeds = stage.looks[stage.next_look - 1]
        at = f"look {stage.next_look} of {len(stage.looks)}, at {seeds} seeds"
        waits = _count_ended(status, stage.next_look)
        lines.append(f"{at}: {waits}")
    for number, decision in enumerate(stage.decisions, 1):
        lines.append(f"look {number}, at {decision['seeds']} seeds: {_format_decision(decision)}")
    if status.skipped:
        lines.append(
            f"decided at {stage.looks[len(stage.decisions) - 1]} of {stage.looks[-1]} seeds: "
            f"{len(status.skipped)} trials spared"
        )
    return lines


def tuned_values(candidate: Candidate) -> dict[str, str]:
    """Return, by name, the ranges in which hyperparameters of a candidate are tuned, in words."""
    search = candidate.search if isinstance(candidate, TunedCandidate) else None
    return {} if search is None else {k: axis.in_words() for k, axis in search.space.items()}


def _tuning_lines(status: Status) -> list[str]:
    stage = status.stage
    if not stage.tuned:
        return []
    every = [one for one in status.planned.values() if one.outcome.trial.phase == "tune"]
    tuned = [one.outcome for one in every if one.wanted == "now" or one.outcome.has_result]
    ended = sum(one.has_result for one in tuned)
    searches = f" in {stage.searches} searches a workload" if stage.searches > 1 else ""
    if not stage.awaits_winners:
        return [f"settings chosen by {ended} trials of tuning{searches}"]
    follow = stage.to_suggest
    if follow:
        then = f"the settings of {follow} are suggested by how the others fare"
    elif ended < len(tuned):
        then = "the settings with the best validation are compared, on other seeds"
    else:
        then = "the next `submit` or `run` chooses, if each candidate has a trial that logged "
        then += "the metric it is tuned by"
    where = f" ({stage.searches} searches a workload)" if stage.searches > 1 else ""
    return [f"tuning first: {ended} of {len(tuned) + follow} trials{where} have ended; {then}"]


def stage_json(status: Status) -> dict[str, Any]:
    """Return the stage, JSON-ready."""
    stage = status.stage
    states = [trial_status.state for trial_status in status.planned.values()]
    return {
        "looks": list(stage.looks),
        "decided": len(stage.decisions),
        "next_look": stage.next_look if stage.looks else None,
        "awaits_winners": stage.awaits_winners,
        "awaits_targets": stage.awaits_targets,
        "targets": dict(stage.targets),
        "later": states.count("later"),
        "spared": states.count("spared"),
        "analysis": None if stage.frozen is None else stage.frozen.hash,
        "lines": stage_lines(status),
    }


def _count_ended(status: Status, look: int) -> str:
    """Say how many trials of a look have ended, and what it waits for."""
    stage = status.stage
    here = [s for s in status.planned.values() if stage.is_of_look(s.outcome.trial, look)]
    if not here and stage.lacks_settings(look):
        return "none of its trials is planned yet, for their settings are still to be found"
    if not here:
        return "this sweep asks for none of its trials any more"
    missing = [one for one in here if not one.outcome.has_result]
    open_ones = [one for one in missing if one.in_flight or one.goes_again]
    failed = len(missing) - len(open_ones)
    ended = f"{len(here) - len(missing)} of {len(here)} trials have a result"
    if failed:
        ended += f", {failed} failed or are held"
    names = dict.fromkeys(one.outcome.trial.candidate.name for one in here)
    measured = {one.outcome.trial.candidate.name for one in here if one.outcome.has_result}
    lost = [name for name in names if name not in measured]
    if open_ones or stage.lacks_settings(look):
        return ended
    if lost:
        return f"{ended}; it waits for {', '.join(lost)}, of which no trial has a result"
    return f"{ended}; the next `submit` or `run` decides"


def _format_decision(decision: Any) -> str:
    pairs = ", ".join(f"{candidate} vs {baseline}" for candidate, baseline in decision["open"])
    return f"undecided {pairs}" if pairs else "every question is decided"
