"""Where every trial of a study stands: the log's word, and the backend's on whether jobs live."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from jobs.discards import read_discards
from jobs.ending import RANK_DIED
from jobs.trial import Trial
from orchestrator.backends.base import Submission, job_notes, job_states, read_submissions
from orchestrator.packs import read_pack
from orchestrator.study import Study
from tracking.outcomes import Hold, Outcome, State, read_holds, read_outcomes

StandingState = State | Literal["queued", "lost", "held"]


@dataclass(frozen=True)
class Standing:
    """One trial: its outcome, and the submission whose living job still carries it.

    `lost` is running by the log while its job has ended; `queued` is in a living job that has not
    come to it yet, whatever became of it in an earlier one; `held` was left alone by the last job
    that carried it, because trials like it had failed: `hold` says how.
    """

    outcome: Outcome
    carrier: str | None
    hold: Hold | None = None

    @property
    def in_flight(self) -> bool:
        return self.carrier is not None

    @property
    def state(self) -> StandingState:
        outcome = self.outcome
        if outcome.has_result:
            return outcome.state
        if self.hold is not None:
            return "held"
        if self.in_flight and outcome.job.get("submission") != self.carrier:
            return "queued"
        return "lost" if outcome.state == "running" and not self.in_flight else outcome.state


@dataclass(frozen=True)
class Status:
    """All standings of a study: planned trials by id in plan order, and results of no plan.

    `strays` counts the trials in living jobs that the sweep no longer asks for; `at_a_time` is how
    many ranks the living jobs may run at once, and `notes` what their backends say of them.
    """

    planned: Mapping[str, Standing]
    unplanned: Sequence[Outcome]
    jobs_alive: int
    strays: int
    at_a_time: int = 1
    notes: tuple[str, ...] = ()

    @cached_property
    def counts(self) -> dict[str, int]:
        """Trials by state, in the order of a trial's life; states of no trial left out."""
        states = [standing.state for standing in self.planned.values()]
        order = ("completed", "diverged", "running", "queued", "waiting", "interrupted")
        return {s: states.count(s) for s in (*order, "failed", "held", "lost") if s in states}

    @property
    def outcomes(self) -> list[Outcome]:
        return [standing.outcome for standing in self.planned.values()]

    @property
    def unfinished(self) -> list[Standing]:
        """Neither a result nor a living job, whatever became of it."""
        return [s for s in self.planned.values() if not s.outcome.has_result and not s.in_flight]

    @property
    def left_alone(self) -> list[Standing]:
        """What is not sent again unless the user says `retry`."""
        return [s for s in self.unfinished if s.state in ("failed", "held")]

    @property
    def missing(self) -> list[Trial]:
        """What is to be sent: it waits, or was stopped by no fault of its own."""
        return [s.outcome.trial for s in self.unfinished if s.state not in ("failed", "held")]

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
    outcomes = read_outcomes(study.layout.events, study.trials, discarded)
    holds = _holds(study, submissions)
    planned = {trial.id for trial in study.trials}
    return Status(
        planned={
            trial_id: Standing(outcome, carriers.get(trial_id), holds.get(trial_id))
            for trial_id, outcome in outcomes.items()
            if trial_id in planned
        },
        unplanned=[o for trial_id, o in outcomes.items() if trial_id not in planned],
        jobs_alive=alive,
        strays=len(carriers.keys() - planned),
        at_a_time=max((submission.lanes for submission in living), default=1),
        notes=tuple(job_notes(study.layout, living)),
    )


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
