"""Where every trial of a study stands: the log's word, and the backend's on whether jobs live."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from jobs.trial import Trial
from orchestrator.backends.base import JobState, Submission, load_backend, read_submissions
from orchestrator.packs import read_pack
from orchestrator.study import Study
from tracking.outcomes import Outcome, State, read_outcomes

StandingState = State | Literal["queued", "lost"]


@dataclass(frozen=True)
class Standing:
    """One trial: its outcome, and the submission whose living job still carries it.

    `lost` is running by the log while its job has ended; `queued` is in a living job that has not
    come to it yet, whatever became of it in an earlier one.
    """

    outcome: Outcome
    carrier: str | None

    @property
    def in_flight(self) -> bool:
        return self.carrier is not None

    @property
    def state(self) -> StandingState:
        outcome = self.outcome
        if outcome.has_result:
            return outcome.state
        if self.in_flight and outcome.job.get("submission") != self.carrier:
            return "queued"
        return "lost" if outcome.state == "running" and not self.in_flight else outcome.state


@dataclass(frozen=True)
class Status:
    """All standings of a study: planned trials by id in plan order, and results of no plan.

    `strays` counts the trials in living jobs that the sweep no longer asks for.
    """

    planned: Mapping[str, Standing]
    unplanned: Sequence[Outcome]
    jobs_alive: int
    strays: int

    @cached_property
    def counts(self) -> dict[str, int]:
        """Trials by state, in the order of a trial's life; states of no trial left out."""
        states = [standing.state for standing in self.planned.values()]
        order = ("completed", "diverged", "running", "queued", "waiting", "interrupted")
        return {s: states.count(s) for s in (*order, "failed", "lost") if s in states}

    @property
    def outcomes(self) -> list[Outcome]:
        return [standing.outcome for standing in self.planned.values()]

    @property
    def missing_standings(self) -> list[Standing]:
        """What is to be sent: neither a result nor a living job."""
        return [s for s in self.planned.values() if not s.outcome.has_result and not s.in_flight]

    @property
    def missing(self) -> list[Trial]:
        return [standing.outcome.trial for standing in self.missing_standings]

    @property
    def lost(self) -> frozenset[str]:
        """The ids of trials whose process died under them."""
        return frozenset(i for i, s in self.planned.items() if s.state == "lost")

    @property
    def done(self) -> int:
        """Trials with a result: completed or diverged."""
        return sum(standing.outcome.has_result for standing in self.planned.values())


def read_status(study: Study) -> Status:
    """Derive the status of a study; changes nothing and needs no lock."""
    carriers: dict[str, str] = {}
    alive = 0
    for submission in read_submissions(study.layout):
        states = _job_states(study, submission)
        alive += sum(state != "ended" for state in states.values())
        for pack, state in states.items():
            if state != "ended":
                carried = read_pack(study.layout, submission.id, pack).trials
                carriers |= {trial.id: submission.id for trial in carried}
    outcomes = read_outcomes(study.layout.events, study.trials)
    planned = {trial.id for trial in study.trials}
    return Status(
        planned={
            trial_id: Standing(outcome, carriers.get(trial_id))
            for trial_id, outcome in outcomes.items()
            if trial_id in planned
        },
        unplanned=[o for trial_id, o in outcomes.items() if trial_id not in planned],
        jobs_alive=alive,
        strays=len(carriers.keys() - planned),
    )


def _job_states(study: Study, submission: Submission) -> Mapping[int, JobState]:
    return load_backend(submission.backend).states(study.layout, submission)
