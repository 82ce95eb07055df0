"""What every backend can do, and what it is given: trials to place, submissions to start."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from jobs.contract.failures import JobEnd
from jobs.contract.layout import Layout
from jobs.contract.trial import Trial
from orchestrator.backends.records import Submission
from orchestrator.study.study import Study
from orchestrator.sweep.sweep import SweepFile
from slurm.helper_record import read_helper
from tracking.outcomes import Outcome

JobState = Literal["queued", "running", "ended"]
JobStates = Mapping[str, Mapping[int, JobState]]  # by submission and pack
JobEnds = Mapping[tuple[str, int], JobEnd]  # by submission and pack

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class SchedulerJob:
    """A living job: the id that its scheduler shows, and the scheduler's word why it waits."""

    id: str
    waits: str | None = None


LivingJobs = Mapping[tuple[str, int], SchedulerJob]  # by submission and pack

# Imported when first used: a study needs one of them alone.
BACKENDS: Mapping[str, str] = {
    "local": "orchestrator.backends.local:LocalBackend",
    "ray": "orchestrator.backends.ray.backend:RayBackend",
    "slurm": "orchestrator.backends.slurm:SlurmBackend",
}
IN_A_JOB = "orchestrator.backends.ray.on_slurm:RayOnSlurm"  # with `ray.on: slurm`


@dataclass(frozen=True)
class Need:
    """What a trial is given the next time: factors of the sweep's memory and time, and a delay."""

    mem: float = 1.0
    time: float = 1.0
    backoff_s: float = 0.0


@dataclass(frozen=True)
class PlacementRequest:
    """The trials that are to be sent, and what is known of them.

    `suspects` are trials whose process died while they ran; `code` has the folders of the user's
    code by trial id; `lanes` is what the user has asked for, None if the backend is to choose.
    `needs` has the trials that need more than the sweep says; no job is to run on `bad_nodes`, the
    oldest first; `unattended` is as in `Submission`.
    """

    study: Study
    trials: Sequence[Trial]
    outcomes: Sequence[Outcome]
    suspects: Container[str]
    code: Mapping[str, Path | None]
    lanes: int | None = None
    needs: Mapping[str, Need] = field(default_factory=dict)
    bad_nodes: Sequence[str] = ()
    unattended: bool = False


@dataclass(frozen=True)
class SubmissionPlan:
    """The packs of one submission, the number of ranks at a time, and the backend's request.

    `backend_request` takes the folder of the submission; `scale` is as in `Submission`.
    """

    packs: Sequence[Sequence[Trial]]
    lanes: int
    backend_request: Callable[[Path], Mapping[str, Any] | None] = lambda _: None
    scale: Mapping[str, float] | None = None


def count_ranks_at_a_time(plans: Sequence[SubmissionPlan], concurrent: int | None) -> int:
    """Return how many ranks of some plans run at a time if `concurrent` trials may."""
    lanes = sum(plan.lanes for plan in plans)
    most = max((pack[0].world_size for plan in plans for pack in plan.packs), default=1)
    return lanes if concurrent is None else min(lanes, concurrent * most)


class Backend(ABC):
    """Where jobs run. It knows whether a job lives, never the results of its trials.

    `survives_us`: jobs go on if the command that watches them is interrupted.
    """

    survives_us: bool = False

    @abstractmethod
    def check(self, study: Study) -> None:
        """Raise an error if this backend could run no trial of a study."""

    def ignored(self, study: Study) -> Sequence[str]:
        """Return the keys of a sweep that are set and have no effect here, by default none."""
        return []

    def remarks(self, study: Study) -> Sequence[str]:
        """Return what of the user's settings beside the sweep has no effect; by default, none."""
        return []

    def refusals(self, study: Study) -> Sequence[str]:
        """Return why `check` would end with an error, as far as `plan` is to say it."""
        return []

    @abstractmethod
    def place(self, request: PlacementRequest) -> Sequence[SubmissionPlan]:
        """Share trials out to packs, and packs to submissions; starts nothing."""

    @abstractmethod
    def submit(self, layout: Layout, submissions: Sequence[Submission]) -> None:
        """Start the packs of recorded submissions, and send what earlier ones have left."""

    @abstractmethod
    def states(self, layout: Layout, submissions: Sequence[Submission]) -> JobStates:
        """Return the state of the job of every pack."""

    @abstractmethod
    def ends(self, layout: Layout, submissions: Sequence[Submission]) -> JobEnds:
        """Return how jobs died; to be asked after `states`."""

    def jobs(self, layout: Layout, submissions: Sequence[Submission]) -> LivingJobs:
        """Return the jobs that live, if they have ids; to be asked after `states`."""
        return {}

    @abstractmethod
    def cancel(
        self, layout: Layout, submission: Submission, packs: Collection[int] | None = None
    ) -> None:
        """Stop the jobs of a submission cleanly, all or some; return once none is left."""

    @abstractmethod
    def hold(
        self, layout: Layout, submission: Submission, packs: Collection[int], hold: bool
    ) -> int:
        """Hold or release jobs that have not started; return their number."""

    def notes(self, layout: Layout, submissions: Sequence[Submission]) -> Sequence[str]:
        """Return remarks for the user on living jobs, and on what looks after the study.

        Asks no scheduler; to be asked after `states`. By default, jobs are not spoken of.
        """
        helper = read_helper(layout)
        trouble = None if helper is None else helper.describe_trouble(is_gone=False)
        return [] if trouble is None else [trouble]

    def keep_cap(self, study: Study, plans: Sequence[SubmissionPlan]) -> str | None:
        """Take down the cap of a study in hours; return why it has no room for any job of `plans`.

        By default there is no cap here. Whoever calls holds the study's lock.
        """
        return None

    def unseen(self, layout: Layout, submissions: Sequence[Submission]) -> str | None:
        """Say why some jobs are taken for alive although nobody can see them; None if none are.

        To be asked after `states`.
        """
        return None

    def give_up(self, layout: Layout, submission: Submission) -> None:
        """Take jobs for ended that cannot be seen, because a person says so; by default none."""
        return

    def settle_hours(self, layout: Layout) -> None:
        """Find out how long jobs ran that left no word of it, and write it down; by default none.

        Whoever calls holds the study's lock, and has asked for the states before.
        """
        return

    def waits(self, layout: Layout) -> bool:
        """Return True if a recorded submission is still to be sent; by default, none is."""
        return False


def backend_of(place: SweepFile | Submission) -> Backend:
    """Return the backend that runs the trials of a sweep, or that has started a submission.

    There is one instance of each, since it may keep what the scheduler has answered.
    """
    return _load(IN_A_JOB if place.in_a_job else BACKENDS[place.backend])


@cache
def _load(path: str) -> Backend:
    module, _, kind = path.partition(":")
    backend: Backend = getattr(importlib.import_module(module), kind)()
    return backend


def job_states(layout: Layout, submissions: Sequence[Submission]) -> JobStates:
    """Return the state of every job; a backend is asked once for all of its submissions."""
    return dict(_ask(submissions, lambda one, theirs: one.states(layout, theirs).items()))


def job_ends(layout: Layout, submissions: Sequence[Submission]) -> JobEnds:
    """Return how jobs died; to be asked after `job_states`."""
    return dict(_ask(submissions, lambda one, theirs: one.ends(layout, theirs).items()))


def find_unseen(layout: Layout, submissions: Sequence[Submission]) -> str | None:
    """Say why jobs are taken for alive that nobody can see, None if there are none."""
    reasons = _ask(submissions, lambda one, theirs: [one.unseen(layout, theirs)])
    return next((reason for reason in reasons if reason is not None), None)


def living_jobs(layout: Layout, submissions: Sequence[Submission]) -> LivingJobs:
    """Return the jobs that live, of schedulers that name them; to be asked after `job_states`."""
    return dict(_ask(submissions, lambda one, theirs: one.jobs(layout, theirs).items()))


def job_notes(layout: Layout, submissions: Sequence[Submission]) -> list[str]:
    """Return the remarks of all backends on living jobs, each once."""
    notes = _ask(submissions, lambda one, theirs: one.notes(layout, theirs))
    return list(dict.fromkeys(notes))


def _ask(
    submissions: Sequence[Submission],
    question: Callable[[Backend, list[Submission]], Iterable[_Answer]],
) -> Iterator[_Answer]:
    """Yield the answers of each backend about the submissions that it has started."""
    for backend in dict.fromkeys(map(backend_of, submissions)):
        yield from question(backend, [one for one in submissions if backend_of(one) is backend])
