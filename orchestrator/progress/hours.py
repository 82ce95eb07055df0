"""The hours of a study, of CPUs and GPUs: spent, wasted, reserved, planned, spared by looks.

On SLURM those of jobs, as these and the accounting have them; elsewhere those of trials. Asks no
scheduler.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.backends.base import JobEnds, job_ends
from orchestrator.backends.capped import read_limits
from orchestrator.backends.records import Submission, read_submissions
from orchestrator.progress.retry_policy import find_unstarted, name_failures
from orchestrator.progress.status import Status
from orchestrator.study.estimate import estimate_by_trial
from orchestrator.study.study import Study
from slurm.hours_cap import Cap, read_job_hours, read_ledger, read_pack_runs
from slurm.job_hours import NO_HOURS, Hours
from slurm.submission import SlurmSubmission, read_slurm_submissions
from tracking.history import AttemptSummary
from tracking.outcomes import Outcome


@dataclass(frozen=True)
class StudyHours:
    """The hours of a study.

    `wasted` are those of attempts whose work nothing goes on with, by class of failure, and of
    jobs that began no trial; they are part of `spent`, as is `start_up`: what jobs took beside
    their trials. `reserved` is what `open_jobs` may still take, by their time limits. `planned` is
    what trials without a result are expected to take, `spared` what looks have spared, None if
    nothing is known of a trial. `jobs` has what each job took, by its id; empty outside SLURM.
    """

    spent: Hours
    wasted: Mapping[str, Hours]
    start_up: Hours | None
    reserved: Hours
    open_jobs: int
    planned: Hours | None
    spared: Hours | None
    cap: Cap
    jobs: Mapping[str, Hours] = field(default_factory=dict)


def read_hours(study: Study, status: Status) -> StudyHours:
    """Add up the hours of a study as its files have them now."""
    submissions = {one.id: one for one in read_submissions(study.layout)}
    ends = job_ends(study.layout, list(submissions.values()))
    by_attempts, wasted = _add_attempts(study, status, submissions, ends)
    ours = read_slurm_submissions(study.layout)
    for kind, hours in _add_unstarted(ours, ends).items():
        wasted[kind] = wasted.get(kind, NO_HOURS) + hours
    ledger = read_ledger(ours)
    # Jobs of today's version alone write down what they take.
    spent = Hours(*map(max, _pair(ledger.spent), _pair(by_attempts)))
    start_up = None
    if ours:
        cpu, gpu = (a - b for a, b in zip(_pair(spent), _pair(by_attempts), strict=True))
        start_up = Hours(max(0.0, cpu), max(0.0, gpu))
    waiting = [one for one in status.wanted if not one.has_result]
    later = [s.outcome for s in status.planned.values() if s.state == "later"]
    skipped = [s.outcome for s in status.planned.values() if s.state == "spared"]
    return StudyHours(
        spent=spent,
        wasted=wasted,
        start_up=start_up,
        reserved=ledger.reserved,
        open_jobs=ledger.open_jobs,
        planned=_estimate(study, status, [*waiting, *later]),
        spared=_estimate(study, status, skipped),
        cap=read_limits(study),
        jobs=read_job_hours(ours),
    )


def _pair(hours: Hours) -> tuple[float, float]:
    return hours.cpu, hours.gpu


def _add_attempts(
    study: Study, status: Status, submissions: Mapping[str, Submission], ends: JobEnds
) -> tuple[Hours, dict[str, Hours]]:
    """Return what all attempts at trials took, and what of it is lost, by class of failure."""
    unstarted = find_unstarted(study.layout, ends)
    spent, wasted = NO_HOURS, dict[str, Hours]()
    flying = {trial for trial, one in status.planned.items() if one.in_flight}
    for outcome in (*status.outcomes, *status.unplanned):
        trial, attempts = outcome.trial.id, outcome.attempt_log
        kinds = name_failures(outcome, ends, unstarted.get(trial, [])) if attempts else {}
        for number, attempt in enumerate(attempts):
            submission = attempt.log.rsplit("-", 3)[0]
            runs = attempt.end == "running" and trial in flying
            end_ms = time.time_ns() // 1_000_000 if runs else attempt.ended_ms or attempt.seen_ms
            hours = max(0, end_ms - attempt.started_ms) / 3_600_000
            taken = _rate(study, outcome, submissions.get(submission)).times(hours)
            spent += taken
            kind = kinds.get(submission)
            if kind is None or runs or attempt.end in ("completed", "diverged", "interrupted"):
                continue
            later = attempts[number + 1 :]
            if later or not study.layout.checkpoint(trial).exists():  # else it goes on from there
                lost = taken.times(_part_lost(attempt, later))
                wasted[kind] = wasted.get(kind, NO_HOURS) + lost
    return spent, {kind: hours for kind, hours in wasted.items() if hours != NO_HOURS}


def _add_unstarted(submissions: Sequence[SlurmSubmission], ends: JobEnds) -> dict[str, Hours]:
    """Return what jobs took that ended before they began a trial, by class of failure."""
    wasted: dict[str, Hours] = {}
    for submission in submissions:
        for pack, of_pack in read_pack_runs(submission).items():
            end = ends.get((submission.id, pack))
            if end is not None and not submission.has_begun(pack):
                taken = sum((run.hours for run in of_pack.runs), NO_HOURS)
                wasted[end.failure] = wasted.get(end.failure, NO_HOURS) + taken
    return wasted


def _part_lost(attempt: AttemptSummary, later: Sequence[AttemptSummary]) -> float:
    """Return the part of an attempt's steps that a later one did again, 1 if none went on."""
    firsts = [one.first for one in later if one.first is not None]
    if not firsts or attempt.step is None or attempt.first is None:
        return 1.0
    if attempt.step <= attempt.first:
        return 1.0 if firsts[0] <= attempt.step else 0.0
    return max(0.0, min(1.0, (attempt.step - firsts[0]) / (attempt.step - attempt.first)))


def _rate(study: Study, outcome: Outcome, submission: Submission | None) -> Hours:
    """Return the CPUs and GPUs that a trial has while it runs."""
    ranks, trial = outcome.trial.world_size, outcome.trial
    if submission is None or submission.device != "cuda":
        return Hours(ranks * trial.threads, 0.0)
    shared = study.sweep.keys.pack.trials_per_gpu if ranks == 1 else 1
    return Hours(ranks * trial.threads, ranks / shared)


def _estimate(study: Study, status: Status, outcomes: Sequence[Outcome]) -> Hours | None:
    """Return the hours that some trials take as a whole; None if nothing is known of one."""
    keys = study.sweep.keys
    seconds = estimate_by_trial(status.outcomes, keys.resources.device) if outcomes else {}
    whole = NO_HOURS
    for one in outcomes:
        takes = seconds[one.trial.id]
        if takes is None:
            return None
        ranks, is_gpu = one.trial.world_size, keys.resources.device == "cuda"
        shared = keys.pack.trials_per_gpu if ranks == 1 else 1
        each = Hours(ranks * one.trial.threads, ranks / shared if is_gpu else 0.0)
        whole += each.times(takes / 3600)
    return whole
