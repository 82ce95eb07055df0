"""Which trials `retry` sends again. Selects; sending is `orchestrator.advance`'s."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from jobs.failures import CLASSES
from jobs.trial import Trial
from orchestrator.status import Standing, Status
from orchestrator.sweep_file import SweepError, choices
from orchestrator.trial_ids import find_id

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
        tests: list[Callable[[Standing], bool]] = []
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


def _is_of(standing: Standing, wanted: Collection[str]) -> bool:
    failure = None if standing.failure is None else standing.failure.kind
    oom = {"OOM"} if failure in ("OOM_HOST", "OOM_DEVICE") else set()
    return bool({standing.state, failure, _kind(standing), *oom} & set(wanted))


def _candidates(standing: Standing) -> set[str]:
    """Return the names of the candidate, and of the setting of it that is being tried."""
    candidate = standing.outcome.trial.candidate
    return {candidate.declared, candidate.name}


def _workload(standing: Standing) -> str:
    return standing.outcome.trial.workload.name


def _kind(standing: Standing) -> str | None:
    return standing.outcome.kind if standing.state == "failed" else None


def _check(option: str, given: Sequence[str], known: Iterable[str]) -> None:
    names = list(dict.fromkeys(known))
    for name in given:
        if name not in names:
            raise SweepError(f"{option} {name}: there is none here; {choices(name, names)}")
