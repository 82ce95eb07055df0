"""Where every trial of a study stands: the log's word, and the backend's on whether jobs live."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from jobs.contract.attempts import read_discards
from jobs.contract.trial import Trial
from jobs.ranks.ending import RANK_DIED
from orchestrator.backends.base import job_ends, job_notes, job_states
from orchestrator.backends.records import Submission, read_pack, read_submissions
from orchestrator.progress.retry_policy import Ends, Failure, find_failure, find_unstarted
from orchestrator.study.stage import NO_STAGE, Stage, Wanted, read_stage
from orchestrator.study.study import Study
from tracking.history import State
from tracking.outcomes import Hold, Outcome, read_holds, read_outcomes

TrialState = State | Literal["queued", "lost", "held", "later", "spared"]


@dataclass(frozen=True)
class TrialStatus:
    """One trial: its outcome, and the submission whose living job still carries it.

    `lost` is running by the log while its job has ended; `queued` is in a living job that has not
    come to it yet, whatever became of it in an earlier one; `held` was left alone by the last job
    that carried it, because trials like it had failed: `hold` says how. `failure` is what ended
    its last attempt, where that brought no result and nobody wanted it to end.
    """

    outcome: Outcome
    carrier: str | None
    hold: Hold | None = None
    wanted: Wanted = "now"
    failure: Failure | None = None

    @property
    def goes_again(self) -> bool:
        """Whether the next `submit` sends it, if it has no result and no living job."""
        if self.hold is not None:
            return False
        return self.failure.again if self.failure is not None else self.state != "failed"

    @property
    def in_flight(self) -> bool:
        return self.carrier is not None

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
    """All standings of a study: planned trials by id in plan order, and results of no plan.

    `strays` counts the trials in living jobs that the sweep no longer asks for; `at_a_time` is how
    many ranks the living jobs may run at once, and `notes` what their backends say of them.
    `bad_nodes` have died of late under a job of the study, the oldest first.
    """

    planned: Mapping[str, TrialStatus]
    unplanned: Sequence[Outcome]
    jobs_alive: int
    strays: int
    at_a_time: int = 1
    notes: tuple[str, ...] = ()
    stage: Stage = NO_STAGE
    bad_nodes: tuple[str, ...] = ()

    @cached_property
    def counts(self) -> dict[str, int]:
        """Trials by state, in the order of a trial's life; states of no trial left out."""
        states = [standing.state for standing in self.planned.values()]
        order = ("completed", "diverged", "running", "queued", "waiting", "interrupted")
        ends = ("failed", "held", "lost", "later", "spared")
        return {s: states.count(s) for s in (*order, *ends) if s in states}

    @property
    def outcomes(self) -> list[Outcome]:
        return [standing.outcome for standing in self.planned.values()]

    @property
    def wanted(self) -> list[Outcome]:
        """Those of trials that are to run now, have run, or are running."""
        return [s.outcome for s in self.planned.values() if s.state not in ("later", "spared")]

    @property
    def later(self) -> list[Trial]:
        """What waits for a decision."""
        return [s.outcome.trial for s in self.planned.values() if s.state == "later"]

    @property
    def spared(self) -> list[Trial]:
        """What is never to run, because a look has decided."""
        return [s.outcome.trial for s in self.planned.values() if s.state == "spared"]

    @property
    def unfinished(self) -> list[TrialStatus]:
        """Neither a result nor a living job, whatever became of it."""
        return [
            s
            for s in self.planned.values()
            if not s.outcome.has_result and not s.in_flight and s.wanted == "now"
        ]

    @property
    def left_alone(self) -> list[TrialStatus]:
        """What is not sent again unless the user says `retry`."""
        return [s for s in self.unfinished if not s.goes_again]

    @property
    def missing(self) -> list[Trial]:
        """What is to be sent: it waits, or has a retry left."""
        return [s.outcome.trial for s in self.unfinished if s.goes_again]

    @property
    def lost(self) -> frozenset[str]:
        """The ids of trials whose process died under them, or one of their processes."""
        return frozenset(
            trial_id
            for trial_id, standing in self.planned.items()
            if standing.state == "lost" or standing.outcome.kind == RANK_DIED
        )

    @property
    def done(self) -> int:
        """Trials with a result: completed or diverged."""
        return sum(standing.outcome.has_result for standing in self.planned.values())


def read_status(study: Study) -> Status:
    """Derive the status of a study; changes nothing and needs no lock."""
    carriers: dict[str, str] = {}
    alive = 0
    stage, trials = read_stage(study)
    submissions = read_submissions(study.layout)
    every = job_states(study.layout, submissions)
    living = [s for s in submissions if any(state != "ended" for state in every[s.id].values())]
    for submission in submissions:
        states = every[submission.id]
        alive += sum(state != "ended" for state in states.values())
        for pack, state in states.items():
            if state != "ended":
                carried = read_pack(study.layout, submission.id, pack).trials
                carriers |= {trial.id: submission.id for trial in carried}
    discarded = read_discards(study.layout)
    outcomes = read_outcomes(study.layout.events, trials, discarded)
    holds = _holds(study, submissions)
    ends = job_ends(study.layout, submissions)
    unstarted = find_unstarted(study.layout, ends)
    known = {submission.id: submission for submission in submissions}

    def failure(trial_id: str, outcome: Outcome) -> Failure | None:
        calm = ("waiting", "completed", "diverged")
        if trial_id in carriers or (outcome.state in calm and trial_id not in unstarted):
            return None  # most of them; of what is under way its job has the last word
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
            )
            for trial_id, outcome in outcomes.items()
            if trial_id in planned
        },
        unplanned=[o for trial_id, o in outcomes.items() if trial_id not in planned],
        jobs_alive=alive,
        strays=len(carriers.keys() - planned),
        at_a_time=max((submission.lanes for submission in living), default=1),
        notes=tuple(job_notes(study.layout, living)),
        stage=stage,
        bad_nodes=_bad_nodes(ends, study.sweep.keys.failures.node_fail.exclude),
    )


def _bad_nodes(ends: Ends, exclude_s: float) -> tuple[str, ...]:
    """Return the nodes that have died so recently; of a job on several, nobody says which has."""
    since = time.time() - exclude_s
    dead = [end for end in ends.values() if end.failure == "NODE_FAIL" and end.time_s > since]
    named = [end.node for end in sorted(dead, key=lambda end: end.time_s) if end.node]
    return tuple(dict.fromkeys(node for node in named if not set(node) & set(",[")))


def _holds(study: Study, submissions: Sequence[Submission]) -> Mapping[str, Hold]:
    """Return, by trial id, the holds that stand: no later submission has carried the trial."""
    holds: dict[str, Hold] = {}
    all_holds = read_holds(study.layout.events)
    oldest = min((hold.submission for hold in all_holds), default=None)
    if oldest is None:
        return {}
    for submission in submissions:
        if submission.id < oldest:
            continue
        for pack in range(submission.packs):
            for trial in read_pack(study.layout, submission.id, pack).trials:
                holds.pop(trial.id, None)
        for hold in all_holds:
            if hold.submission == submission.id:
                holds |= dict.fromkeys(hold.trials, hold)
    return holds
