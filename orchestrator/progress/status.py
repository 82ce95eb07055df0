"""Where every trial of a study stands, by its logs and by the backend's list of living jobs."""

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from jobs.contract.attempts import read_discards
from jobs.contract.layout import Layout
from jobs.contract.trial import Trial
from jobs.ranks.ending import RANK_DIED
from orchestrator.backends.base import (
    SchedulerJob,
    job_ends,
    job_notes,
    job_states,
    living_jobs,
)
from orchestrator.backends.records import (
    Submission,
    cancelled_file,
    find_former_root,
    read_pack,
    read_submissions,
)
from orchestrator.progress.retry_policy import (
    Ends,
    Failure,
    find_failure,
    find_start_hold,
    find_unstarted,
    is_one_node,
    read_carried,
)
from orchestrator.study.stage import NO_STAGE, Stage, Wanted, read_stage
from orchestrator.study.study import Study
from orchestrator.sweep.keys import FailureKeys
from slurm.hours_cap import read_cap_note
from tracking.history import State
from tracking.outcomes import Hold, Outcome, read_holds, read_outcomes
from tracking.questions.analysis import Analysis

_POLL_EVERY_S = 1.0
_SHARE_OF_A_CORE = 0.1  # what polling may cost a large study: the cores are for training

TrialState = State | Literal["queued", "lost", "held", "later", "spared"]

# In the order of a trial's life.
STATES: tuple[TrialState, ...] = (
    *("completed", "diverged", "running", "queued", "waiting", "interrupted"),
    *("failed", "held", "lost", "later", "spared"),
)


@dataclass(frozen=True)
class TrialStatus:
    """One trial: its outcome, and the submission whose living job still carries it.

    Of the states, `lost` is running by the log while its job has ended; `queued` is in a living
    job that has not come to it yet, whatever became of it in an earlier one; `held` was left
    alone by the last job that carried it, because trials like it had failed: `hold` says how.
    `failure` says what ended the last attempt, if that brought no result and nobody stopped it.
    `job` is the living job, if its scheduler names it.
    """

    outcome: Outcome
    carrier: str | None
    hold: Hold | None = None
    wanted: Wanted = "now"
    failure: Failure | None = None
    job: SchedulerJob | None = None

    @property
    def job_id(self) -> str | None:
        """The id of the living job, else of the last one that has begun it; None if none has."""
        return self.outcome.job.get("job") if self.job is None else self.job.id

    @property
    def goes_again(self) -> bool:
        """Return True if the next `submit` sends it, given no result and no living job."""
        if self.hold is not None:
            return False
        return self.failure.again if self.failure is not None else self.state != "failed"

    @property
    def awaits_person(self) -> bool:
        """Return True if somebody else has cancelled its job, maybe: it goes by no policy."""
        stopped = self.failure is not None and self.failure.by_other
        return stopped and self.wanted == "now" and not self.in_flight

    @property
    def in_flight(self) -> bool:
        return self.carrier is not None

    @property
    def is_requeued(self) -> bool:
        """Return True if its job is in the queue again after an interruption, or soon will be."""
        outcome = self.outcome
        is_same = outcome.job.get("submission") == self.carrier
        return self.in_flight and is_same and outcome.state == "interrupted"

    @property
    def state(self) -> TrialState:
        outcome = self.outcome
        if outcome.has_result:
            return outcome.state
        if self.hold is not None:
            return "held"
        if self.in_flight and outcome.job.get("submission") != self.carrier:
            return "queued"
        if self.wanted != "now" and not self.in_flight:
            return self.wanted
        return "lost" if outcome.state == "running" and not self.in_flight else outcome.state


@dataclass(frozen=True)
class Status:
    """All trials of a study: the planned ones by id in plan order, and outcomes of no plan.

    `strays` counts the trials in living jobs that the sweep no longer asks for; `at_a_time` is how
    many ranks the living jobs may run at once, and `notes` what their backends say of them
    and of what looks after the study. `is_cancelled`: its user has said `cancel`, and nothing is
    sent by itself since. `bad_nodes` have died, or had a broken GPU, under a job of
    the study of late, the oldest first. `cap_note` says what
    did not fit the study's cap of hours the last time, None if all did.
    """

    planned: Mapping[str, TrialStatus]
    unplanned: Sequence[Outcome]
    jobs_alive: int
    strays: int
    at_a_time: int = 1
    notes: tuple[str, ...] = ()
    stage: Stage = NO_STAGE
    bad_nodes: tuple[str, ...] = ()
    cap_note: str | None = None
    is_cancelled: bool = False

    @property
    def held_at_cap(self) -> str | None:
        """Why nothing more is sent, if that is the cap of hours, and no job can make room."""
        return self.cap_note if self.missing and not self.jobs_alive else None

    @cached_property
    def counts(self) -> dict[str, int]:
        """Trials by state, in the order of a trial's life; states of no trial left out."""
        states = Counter(one.state for one in self.planned.values())
        return {state: states[state] for state in STATES if state in states}

    @property
    def outcomes(self) -> list[Outcome]:
        return [one.outcome for one in self.planned.values()]

    @property
    def wanted(self) -> list[Outcome]:
        """Outcomes of the trials that are to run now, have run, or are running."""
        return [s.outcome for s in self.planned.values() if s.state not in ("later", "spared")]

    @property
    def later(self) -> list[Trial]:
        """The trials that wait for a decision."""
        return [s.outcome.trial for s in self.planned.values() if s.state == "later"]

    @property
    def skipped(self) -> list[Trial]:
        """The trials that never run, because a look has decided without them."""
        return [s.outcome.trial for s in self.planned.values() if s.state == "spared"]

    @property
    def unfinished(self) -> list[TrialStatus]:
        """The trials with neither a result nor a living job, whatever became of them."""
        idle = [one for one in self.planned.values() if one.wanted == "now" and not one.in_flight]
        return [one for one in idle if not one.outcome.has_result]

    @property
    def left_alone(self) -> list[TrialStatus]:
        """The unfinished trials that only `retry` sends again."""
        return [s for s in self.unfinished if not s.goes_again]

    @property
    def missing(self) -> list[Trial]:
        """The trials to send: they wait, or have a retry left."""
        return [s.outcome.trial for s in self.unfinished if s.goes_again]

    @property
    def stopped_by_others(self) -> list[Trial]:
        """The unfinished trials whose job somebody else has cancelled, or may have."""
        return [s.outcome.trial for s in self.unfinished if s.awaits_person]

    @property
    def lost(self) -> frozenset[str]:
        """The ids of trials of which the process, or one of the processes, died."""
        died = (i for i, one in self.planned.items() if one.outcome.kind == RANK_DIED)
        return frozenset([*died, *(i for i, one in self.planned.items() if one.state == "lost")])

    @property
    def done(self) -> int:
        """The number of trials with a result: completed or diverged."""
        return sum(one.outcome.has_result for one in self.planned.values())


def find_living_packs(
    layout: Layout, submissions: Sequence[Submission]
) -> Mapping[str, Sequence[int]]:
    """Return the packs whose jobs live, by submission, oldest first; no others have an entry."""
    states = job_states(layout, submissions)
    living = {
        one.id: [pack for pack, state in states[one.id].items() if state != "ended"]
        for one in submissions
    }
    return {submission: packs for submission, packs in living.items() if packs}


def read_status(study: Study, amended: Analysis | None = None) -> Status:
    """Derive the status of a study; changes nothing and needs no lock.

    `amended` is the analysis that is to be frozen in the place of what is.
    """
    carriers: dict[str, str] = {}
    in_jobs: dict[str, SchedulerJob] = {}
    stage, trials = read_stage(study, amended)
    submissions = read_submissions(study.layout)
    living = find_living_packs(study.layout, submissions)
    jobs = living_jobs(study.layout, [one for one in submissions if one.id in living])
    for submission, packs in living.items():
        for pack in packs:
            carried = read_pack(study.layout, submission, pack).trials
            carriers |= {trial.id: submission for trial in carried}
            if (submission, pack) in jobs:
                in_jobs |= {trial.id: jobs[submission, pack] for trial in carried}
    outcomes = read_outcomes(study.layout.events, trials, read_discards(study.layout))
    ends = job_ends(study.layout, submissions)
    holds = _read_open_holds(study, submissions, ends, carriers)
    unstarted = find_unstarted(study.layout, ends)
    known = {submission.id: submission for submission in submissions}

    def failure(trial_id: str, outcome: Outcome) -> Failure | None:
        calm = ("waiting", "completed", "diverged")
        if trial_id in carriers or (outcome.state in calm and trial_id not in unstarted):
            return None  # most of them; the job of what is under way decides
        here = unstarted.get(trial_id, [])
        return find_failure(outcome, ends, here, known, study.sweep.keys.failures)

    planned = {trial.id for trial in trials}
    return Status(
        planned={
            trial_id: TrialStatus(
                outcome,
                carriers.get(trial_id),
                holds.get(trial_id),
                stage.wanted(outcome.trial),
                None if outcome.has_result else failure(trial_id, outcome),
                in_jobs.get(trial_id),
            )
            for trial_id, outcome in outcomes.items()
            if trial_id in planned
        },
        unplanned=[o for trial_id, o in outcomes.items() if trial_id not in planned],
        jobs_alive=sum(map(len, living.values())),
        strays=len(carriers.keys() - planned),
        at_a_time=max((known[submission].lanes for submission in living), default=1),
        notes=(
            *job_notes(study.layout, submissions),
            *_note_move(study.layout, submissions, bool(living)),
        ),
        stage=stage,
        bad_nodes=_find_bad_nodes(ends, study.sweep.keys.failures),
        cap_note=read_cap_note(study.layout),
        is_cancelled=bool(submissions)
        and cancelled_file(study.layout, submissions[-1].id).exists(),
    )


def _note_move(layout: Layout, submissions: Sequence[Submission], lives: bool) -> list[str]:
    """Say that jobs are alive which write to where the study was before it was moved."""
    before = find_former_root(layout, submissions) if lives else None
    if before is None:
        return []
    note = f"the study was moved, and its jobs write below {before}, from where they were sent"
    return [f"{note}: move it back, or thermolion cancel {layout.study} before anything is sent"]


def poll_status(study: Study) -> Iterator[Status]:
    """Yield the status of a study about once a second, for the last time when no job of it lives.

    In a large study less often, so that polling and what is done with a status leave nine tenths
    of a core for training.
    """
    while True:
        begin = time.process_time()  # waiting for a queue that is slow to answer costs no core
        status = read_status(study)
        yield status
        if not status.jobs_alive:
            return
        time.sleep(max(_POLL_EVERY_S, (time.process_time() - begin) / _SHARE_OF_A_CORE))


def _find_bad_nodes(ends: Ends, policy: FailureKeys) -> tuple[str, ...]:
    """Return the nodes that died, or had a broken GPU, of late under a job, the oldest first.

    A job on several nodes counts for none, unless one of them is known to be the one.
    """
    now = time.time()
    since = {
        "NODE_FAIL": now - policy.node_fail.exclude,
        "GPU_FAULT": now - policy.gpu_fault.exclude,
    }
    bad = [end for end in ends.values() if end.time_s > since.get(end.failure, math.inf)]
    named = [end.node for end in sorted(bad, key=lambda end: end.time_s) if end.node]
    return tuple(dict.fromkeys(node for node in named if is_one_node(node)))


def _read_open_holds(
    study: Study,
    submissions: Sequence[Submission],
    ends: Ends,
    carriers: Mapping[str, str],
) -> Mapping[str, Hold]:
    """Return, by trial id, the holds that stand: no later submission has carried the trial.

    What waits for its job in the queue is not held because others could not start.
    """
    holds: dict[str, Hold] = {}
    unstarted = {name for (name, _), end in ends.items() if end.cause is not None}
    of_starts = (
        find_start_hold(study.layout, submission, ends, carriers)
        for submission in submissions
        if submission.id in unstarted
    )
    all_holds = [*read_holds(study.layout.events), *(hold for hold in of_starts if hold)]
    oldest = min((hold.submission for hold in all_holds), default=None)
    if oldest is None:
        return {}
    for submission in submissions:
        if submission.id < oldest:
            continue
        for pack in range(submission.packs):
            for trial in read_carried(study.layout, submission.id, pack):
                holds.pop(trial, None)
        for hold in all_holds:
            if hold.submission == submission.id:
                holds |= dict.fromkeys(hold.trials, hold)
    return holds
