"""Which trials `retry` sends again. Selects; sending is `orchestrator.submit.submit`'s.

The living jobs of a selection of trials: what `cancel`, `hold` and `release` act on.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.contract.failures import CLASSES
from jobs.contract.trial import Trial
from orchestrator.backends.base import job_states
from orchestrator.backends.records import Submission, read_pack, read_submissions
from orchestrator.progress.status import Status, TrialStatus, read_status
from orchestrator.study.study import Study
from orchestrator.study.trial_ids import find_id
from orchestrator.sweep.document import SweepError, choices

# States that may be sent again; failures are told apart by class and by kind of exception.
_STATES = ("failed", "held", "lost", "interrupted")


@dataclass(frozen=True)
class Selection:
    """What the user has named; an empty part selects by nothing. Parts narrow each other down."""

    classes: Sequence[str] = ()
    candidates: Sequence[str] = ()
    workloads: Sequence[str] = ()
    trials: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.classes or self.candidates or self.workloads or self.trials)

    def choose(self, status: Status) -> list[Trial]:
        """Return the trials to send; without a selection, all that have no result.

        Raises SweepError for a name that no trial has, and for a named trial that has a result
        or rides in a living job.
        """
        unfinished = status.unfinished
        named = {self._named(status, trial) for trial in self.trials}
        standings = status.planned.values()
        known = (name for standing in standings for name in sorted(_candidates(standing)))
        _check("--candidate", self.candidates, known)
        _check("--workload", self.workloads, (_workload(s) for s in standings))
        classes = [*_STATES, *CLASSES, "OOM", *(k for k in map(_kind, unfinished) if k)]
        _check("--class", self.classes, classes)
        if self.is_empty:
            return [standing.outcome.trial for standing in unfinished]
        tests: list[Callable[[TrialStatus], bool]] = []
        if self.candidates:
            tests.append(lambda s: bool(_candidates(s) & set(self.candidates)))
        if self.workloads:
            tests.append(lambda s: _workload(s) in self.workloads)
        if self.trials:
            tests.append(lambda s: s.outcome.trial.id in named)
        if self.classes or not self.trials:
            wanted = set(self.classes)
            tests.append(lambda s: _is_of(s, wanted) if wanted else not s.goes_again)
        return [s.outcome.trial for s in unfinished if all(test(s) for test in tests)]

    def _named(self, status: Status, prefix: str) -> str:
        trial_id = find_id(prefix, status.planned, "this study")
        standing = status.planned[trial_id]
        if standing.outcome.has_result:
            raise SweepError(
                f"trial {trial_id} has a result ({standing.state}), and a result is final: after "
                "a change of the code, `thermolion rerun STUDY --code-changed` takes it back"
            )
        if standing.in_flight:
            raise SweepError(
                f"trial {trial_id} is {standing.state} in submission {standing.carrier}: wait for "
                "it, or cancel the study first"
            )
        return trial_id


def _is_of(standing: TrialStatus, wanted: Collection[str]) -> bool:
    failure = None if standing.failure is None else standing.failure.kind
    oom = {"OOM"} if failure in ("OOM_HOST", "OOM_DEVICE") else set()
    return bool({standing.state, failure, _kind(standing), *oom} & set(wanted))


def _candidates(standing: TrialStatus) -> set[str]:
    """Return the names of the candidate, and of the setting of it that is being tried."""
    candidate = standing.outcome.trial.candidate
    return {candidate.declared, candidate.name}


def _workload(standing: TrialStatus) -> str:
    return standing.outcome.trial.workload.name


def _kind(standing: TrialStatus) -> str | None:
    return standing.outcome.kind if standing.state == "failed" else None


def _check(option: str, given: Sequence[str], known: Iterable[str]) -> None:
    names = list(dict.fromkeys(known))
    for name in given:
        if name not in names:
            raise SweepError(f"{option} {name}: there is none here; {choices(name, names)}")


@dataclass(frozen=True)
class SelectedJobs:
    """Living jobs, by submission and pack.

    `shared` are trials of the selection whose job carries others as well: it is left alone.
    """

    packs: Sequence[tuple[Submission, Sequence[int]]]
    shared: Sequence[str]

    @property
    def count(self) -> int:
        return sum(len(packs) for _, packs in self.packs)


def choose_jobs(
    study: Study, candidates: Sequence[str], workloads: Sequence[str], trials: Sequence[str]
) -> SelectedJobs:
    """Return the living jobs all of whose trials are selected; an empty part selects by nothing.

    Raises SweepError for a name that no trial has.
    """
    everything = not (candidates or workloads or trials)
    chosen = _chosen(study, candidates, workloads, trials)
    submissions = read_submissions(study.layout)
    every = job_states(study.layout, submissions)
    packs, shared = [], []
    for submission in submissions:
        living = [pack for pack, state in every[submission.id].items() if state != "ended"]
        whole = []
        for pack in living:
            carried = [trial.id for trial in read_pack(study.layout, submission.id, pack).trials]
            if everything or chosen.keys() >= set(carried):
                whole.append(pack)
            else:
                shared += [trial for trial in carried if trial in chosen]
        if whole:
            packs.append((submission, whole))
    return SelectedJobs(packs, shared)


def _chosen(
    study: Study, candidates: Sequence[str], workloads: Sequence[str], trials: Sequence[str]
) -> Mapping[str, Trial]:
    by_id = {trial.id: trial for trial in study.trials}
    settings = dict.fromkeys(trial.candidate.name for trial in by_id.values())
    declared = [candidate.name for candidate in study.sweep.candidates]
    _check_jobs("--candidate", candidates, [*declared, *settings])
    _check_jobs("--workload", workloads, [workload.name for workload in study.sweep.workloads])
    planned = read_status(study).planned if trials else {}
    named = {find_id(trial, planned, "this study") for trial in trials}
    return {
        trial_id: trial
        for trial_id, trial in by_id.items()
        if (not candidates or {trial.candidate.name, trial.candidate.declared} & set(candidates))
        and (not workloads or trial.workload.name in workloads)
        and (not named or trial_id in named)
    }


def _check_jobs(option: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise SweepError(f"{option} {name}: there is none here; {choices(name, known)}")
