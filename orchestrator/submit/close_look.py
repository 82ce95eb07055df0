"""Closing a look: the user ends it with trials missing, and it is answered from what is there.

Written down as a decision before anybody reads an answer. Sends nothing.
"""

from collections.abc import Sequence
from itertools import product

from jobs.contract.quantities import are, quantity
from orchestrator.progress.status import Status, TrialStatus, read_status
from orchestrator.results.given_up import list_given_up
from orchestrator.study.decisions import inputs_hash, write_decision
from orchestrator.study.stage import Stage, name_closed_look
from orchestrator.study.study import Study
from orchestrator.submit.decide import decide
from orchestrator.submit.submit import lock_study
from orchestrator.sweep.document import SweepError
from tracking.questions.analysis import Analysis

_MOST_NAMED = 3


def close_look(study: Study) -> str:
    """End the present look, or the only one, without the trials that are missing; say which.

    With looks its decision is taken from what is there. Raises SweepError if nothing is missing,
    a trial of it is with a living job, no trial that it adds has a result, or there is no look
    that could be ended.
    """
    with lock_study(study):
        status = read_status(study)
        stage, number = status.stage, _find_look(study, status)
        assert stage.frozen is not None
        here = [one for one in status.planned.values() if _is_of(one, stage, number)]
        missing = [one for one in here if not one.outcome.has_result]
        _check_missing(study, status, here, missing, _count_removed(stage, number, here))
        _check_begun(study, stage, number, here)
        write_decision(
            study.layout,
            name_closed_look(number),
            "closed-look",
            look=number,
            analysis=stage.frozen.hash,
            inputs=inputs_hash(one.outcome for one in here),
            missing=[
                {
                    "trial": one.outcome.trial.id,
                    "workload": one.outcome.trial.workload.name,
                    "candidate": one.outcome.trial.candidate.name,
                    "block": one.outcome.trial.block,
                    "state": one.state,
                    "failure": None if one.failure is None else one.failure.kind,
                }
                for one in missing
            ],
        )
        while decide(study, read_status(study)):
            pass
    which = f"look {number}" if stage.looks else "the comparison"
    are = "is" if len(missing) == 1 else "are"
    return f"{which} of {study.name} is closed: {len(missing)} of {len(here)} trials {are} missing"


def _find_look(study: Study, status: Status) -> int:
    """Return the number of the look that can be closed; raise SweepError if there is none."""
    stage, name = status.stage, study.name
    if stage.frozen is None:
        raise SweepError(
            f"no analysis of {name!r} is frozen yet, so no look of it has begun: "
            f"see `thermolion status {name}`"
        )
    if stage.awaits_targets or stage.awaits_winners or _lacks_settings(stage):
        what = "pilots" if stage.awaits_targets else "tuning"
        raise SweepError(
            f"the {what} of {name!r} have to end before a look of it can: "
            f"see `thermolion status {name}`"
        )
    if 1 in stage.closed and not stage.looks:
        raise SweepError(f"the comparison of {name!r} was closed before")
    number = stage.next_look if stage.looks else 1
    if number is None:
        raise SweepError(f"no look of {name!r} is left: all are decided")
    return number


def _lacks_settings(stage: Stage) -> bool:
    return stage.next_look is not None and stage.lacks_settings(stage.next_look)


def _check_missing(
    study: Study,
    status: Status,
    here: Sequence[TrialStatus],
    missing: Sequence[TrialStatus],
    removed: int,
) -> None:
    """Raise SweepError unless trials are missing, none of which is under way."""
    name, given_up = study.name, list_given_up(status)
    waited_for = [one for one in missing if one.outcome.trial.id not in given_up]
    if not waited_for and not removed:
        failed = f", and {len(missing)} that failed are not waited for" if missing else ""
        follows = "; the next `submit` or `run` decides" if status.stage.looks else ""
        raise SweepError(
            f"nothing is missing: {len(here) - len(missing)} of {len(here)} trials of the look "
            f"have a result{failed}{follows}"
        )
    alive = [one.outcome.trial.id for one in missing if one.in_flight]
    if alive:
        more = f" and {len(alive) - _MOST_NAMED} more" if len(alive) > _MOST_NAMED else ""
        raise SweepError(
            f"{quantity(len(alive), 'trial')} of the look {are(len(alive))} with living jobs "
            f"({', '.join(alive[:_MOST_NAMED])}{more}): wait for their end, or "
            f"thermolion cancel {name}"
        )
    if len(missing) == len(here):
        raise SweepError(
            f"none of the {len(here)} trials of the look has a result: there is nothing to answer "
            f"from; why: thermolion status {name}"
        )


def _check_begun(study: Study, stage: Stage, look: int, here: Sequence[TrialStatus]) -> None:
    """Raise SweepError if a look has nothing that the one before it has not been answered from."""
    added = [one for one in here if look > 1 and not stage.is_of_look(one.outcome.trial, look - 1)]
    if added and not any(one.outcome.has_result for one in added):
        raise SweepError(
            f"none of the {len(added)} trials that look {look} adds has a result, so it would say "
            f"nothing that look {look - 1} has not said: `thermolion compare {study.name}` "
            f"reports that one, and `thermolion submit {study.name}` sends them"
        )


def _is_of(one: TrialStatus, stage: Stage, look: int) -> bool:
    trial = one.outcome.trial
    if stage.looks:
        return stage.is_of_look(trial, look)
    return trial.phase == "compare" and _cell_of(one, stage) in _cells(stage, look)


def _count_removed(stage: Stage, look: int, here: Sequence[TrialStatus]) -> int:
    """Return how many trials were declared that the sweep does not ask for any more."""
    return len(_cells(stage, look) - {_cell_of(one, stage) for one in here})


def _cells(stage: Stage, look: int) -> set[tuple[str, str, int]]:
    """Return the keys of workload and candidate and the block of all trials of a look."""
    assert stage.frozen is not None
    analysis: Analysis = stage.frozen.analysis
    blocks = [
        block
        for block in analysis.blocks
        if not stage.looks or block < stage.first + stage.looks[look - 1]
    ]
    names = {name for one in analysis.questions for name in (one.candidate, one.baseline)}
    keys = {analysis.candidates[name] for name in names} - stage.ended.keys()
    return set(product(analysis.workloads.values(), keys, blocks))


def _cell_of(one: TrialStatus, stage: Stage) -> tuple[str, str, int]:
    trial = one.outcome.trial
    return trial.workload.key, stage.key_of(trial.candidate), trial.block
