"""What `retry`, `cancel`, `hold` and `release` act on: trials, and living jobs, by their names.

Selects; sending and stopping are not done here.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from jobs.contract.failures import CLASSES
from jobs.contract.trial import Trial
from orchestrator.backends.records import Submission, read_pack, read_submissions
from orchestrator.progress.status import Status, TrialStatus, find_living_packs
from orchestrator.study.study import Study
from orchestrator.study.trial_lookup import find_id
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

    def choose(self, status: Status) -> list[Trial]:
        """Return the trials to send; without a selection, all that have no result.

        Raises SweepError for a name that no trial has, and for a named trial that has a result
        or is carried by a living job.
        """
        unfinished = status.unfinished
        kinds = [kind for kind in map(_exception_kind, unfinished) if kind]
        _check_names("--class", self.classes, [*_STATES, *CLASSES, "OOM", *kinds])
        ids = [_find_idle(status, trial) for trial in self.trials]
        matching = self.match([outcome.trial for outcome in status.outcomes], ids)
        chosen = [one for one in unfinished if one.outcome.trial.id in matching]
        if self.classes:
            chosen = [one for one in chosen if _is_of_class(one, self.classes)]
        elif (self.candidates or self.workloads) and not self.trials:
            chosen = [one for one in chosen if not one.goes_again]
        return [one.outcome.trial for one in chosen]

    def match_planned(self, study: Study) -> set[str]:
        """Return the ids of the planned trials that are selected, whatever became of them."""
        planned = study.trials
        ids = [find_id(one, (trial.id for trial in planned), "this study") for one in self.trials]
        return self.match(planned, ids)

    def match(self, trials: Sequence[Trial], ids: Collection[str]) -> set[str]:
        """Return the ids of the trials of the named candidates and workloads; no name means all.

        If trials are named, only those among `ids`, which are their whole ids. Raises SweepError
        for a name that no trial has.
        """
        _check_names("--candidate", self.candidates, (n for t in trials for n in _names(t)))
        _check_names("--workload", self.workloads, (trial.workload.name for trial in trials))
        return {
            trial.id
            for trial in trials
            if (not self.candidates or {*_names(trial)} & {*self.candidates})
            and (not self.workloads or trial.workload.name in self.workloads)
            and (not self.trials or trial.id in ids)
        }


def _find_idle(status: Status, prefix: str) -> str:
    """Return the id of a named trial that may be sent."""
    trial_id = find_id(prefix, status.planned, "this study")
    trial_status = status.planned[trial_id]
    if trial_status.outcome.has_result:
        raise SweepError(
            f"trial {trial_id} has a result ({trial_status.state}), and a result is final: after "
            "a change of the code, `thermolion rerun STUDY --code-changed` takes it back"
        )
    if trial_status.in_flight:
        raise SweepError(
            f"trial {trial_id} is {trial_status.state} in submission {trial_status.carrier}: wait "
            "for it, or cancel the study first"
        )
    return trial_id


def _is_of_class(trial_status: TrialStatus, wanted: Collection[str]) -> bool:
    failure = None if trial_status.failure is None else trial_status.failure.kind
    oom = "OOM" if failure in ("OOM_HOST", "OOM_DEVICE") else None
    classes = {trial_status.state, failure, _exception_kind(trial_status), oom}
    return bool(classes & set(wanted))


def _exception_kind(trial_status: TrialStatus) -> str | None:
    return trial_status.outcome.kind if trial_status.state == "failed" else None


def _names(trial: Trial) -> tuple[str, str]:
    """Return the names of the candidate, and of the setting of it that is being tried."""
    return trial.candidate.declared, trial.candidate.name


def _check_names(option: str, given: Sequence[str], known: Iterable[str]) -> None:
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


def choose_jobs(study: Study, selection: Selection) -> SelectedJobs:
    """Return the living jobs all of whose trials are selected, whatever their class.

    Raises SweepError for a name that no trial has.
    """
    everything = not (selection.candidates or selection.workloads or selection.trials)
    chosen = selection.match_planned(study)
    submissions = {one.id: one for one in read_submissions(study.layout)}
    packs, shared = [], []
    for submission, living in find_living_packs(study.layout, [*submissions.values()]).items():
        whole = []
        for pack in living:
            carried = [trial.id for trial in read_pack(study.layout, submission, pack).trials]
            if everything or chosen.issuperset(carried):
                whole.append(pack)
            else:
                shared += [trial for trial in carried if trial in chosen]
        if whole:
            packs.append((submissions[submission], whole))
    return SelectedJobs(packs, shared)
