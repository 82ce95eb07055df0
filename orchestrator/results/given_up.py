"""Which trials will not run again by themselves, and by what failure.

A question need not wait for them. Changes nothing; asks the backend only if it could matter.
"""

from collections.abc import Mapping, Sequence

from jobs.contract.failures import FailureClass, classify_exception
from jobs.contract.trial import Phase
from orchestrator.backends.records import BackendError
from orchestrator.progress.status import Status, TrialStatus, read_status
from orchestrator.study.study import Study
from tracking.outcomes import Outcome


def find_given_up(study: Study, outcomes: Sequence[Outcome]) -> Mapping[str, FailureClass]:
    """Return the failure class of each comparison trial that only `retry` sends again, by its id.

    If no backend answers, those are known whose class is never tried again.
    """
    missing = [one for one in outcomes if one.trial.phase == "compare" and not one.has_result]
    if not missing:
        return {}
    try:
        return list_given_up(read_status(study))
    except BackendError:  # this machine may have no scheduler: the logs have to do
        policy = study.sweep.keys.failures
        kinds = {one.trial.id: _classify(one) for one in missing if one.state == "failed"}
        rules = {trial: policy.rule(kind) for trial, kind in kinds.items()}
        return {
            trial: kinds[trial]
            for trial, rule in rules.items()
            if rule is not None and rule.retries == 0
        }


def list_given_up(status: Status, phase: Phase = "compare") -> Mapping[str, FailureClass]:
    """Return the same of the trials of a phase, by a status that is known."""
    return {
        one.outcome.trial.id: _find_class(one)
        for one in status.left_alone
        if one.outcome.trial.phase == phase
    }


def _find_class(one: TrialStatus) -> FailureClass:
    """Return the class of the last failure of a trial.

    A process that dies without a word again and again, and never gets further, is ended by its
    training: a machine would have to fail each time that it comes to this trial.
    """
    if one.failure is not None:
        is_repeated = one.failure.kind == "LOST" and one.failure.used > 1
        return "USER_ERROR" if is_repeated else one.failure.kind
    if one.hold is not None:  # it was left alone because trials like it had failed so
        return one.hold.failure or classify_exception(None, one.hold.error)
    return _classify(one.outcome)


def _classify(outcome: Outcome) -> FailureClass:
    return classify_exception(outcome.kind, outcome.error)
