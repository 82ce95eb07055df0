"""Takes the decisions that are due: winners of tuning, targets from pilots, look after look.

Whoever calls holds the study's lock. Sends nothing: what a decision releases is sent by `submit`.
"""

from collections.abc import Sequence
from dataclasses import asdict

from orchestrator.progress.status import Status
from orchestrator.results.conclude import StudyResults
from orchestrator.results.given_up import list_given_up
from orchestrator.results.preregister import freeze
from orchestrator.results.winners import decide_tuning
from orchestrator.study.decisions import inputs_hash, write_decision
from orchestrator.study.stage import TARGETS
from orchestrator.study.study import Study
from orchestrator.study.trials import count_pilots
from tracking.outcomes import Outcome


def decide(study: Study, status: Status) -> bool:
    """Take one decision that is due; return True if one was written, since another may follow."""
    stage = status.stage
    if stage.awaits_winners and decide_tuning(study, stage, status.outcomes, _failed(status)):
        return True
    if stage.awaits_targets:
        return _decide_targets(study, status.outcomes)
    look = stage.next_look
    if look is None or not study.sweep.questions:
        return False
    here = [one for one in status.outcomes if stage.is_of_look(one.trial, look)]
    if not _is_due(status, look, here):
        return False
    if stage.frozen is None:
        return freeze(study, stage, status.outcomes)
    return _decide_look(study, status, look, here)


def _failed(status: Status) -> list[str]:
    """Return the ids of the tuning trials that training itself has failed for good."""
    given_up = list_given_up(status, "tune")
    if not given_up:
        return []
    from tracking.questions.readiness import TRAINING_CAN_CAUSE

    return [trial for trial, kind in given_up.items() if kind in TRAINING_CAN_CAUSE]


def _is_due(status: Status, look: int, here: Sequence[Outcome]) -> bool:
    """Return True if a look of the trials `here` waits for nothing, or the user has closed it."""
    stage = status.stage
    if here and look in stage.closed:
        return True
    given_up = {*list_given_up(status), *stage.left_out}
    if stage.lacks_settings(look):
        return False
    if not here or not all(one.has_result or one.trial.id in given_up for one in here):
        return False
    names = {one.trial.candidate.name for one in here}
    if {one.trial.candidate.name for one in here if one.has_result} != names:
        return False  # none of a candidate's trials has a result: there is something to repair
    # Else the sweep no longer asks for the seeds of this look.
    return max(one.trial.block for one in here) >= stage.first + stage.looks[look - 1] - 1


def _decide_targets(study: Study, outcomes: Sequence[Outcome]) -> bool:
    from tracking.compare.targets import derive_targets

    pilots = [one for one in outcomes if one.trial.phase == "pilot"]
    assert study.sweep.keys.pilot is not None
    if len(pilots) < count_pilots(study.sweep) or not all(one.has_result for one in pilots):
        return False
    derived = derive_targets(pilots, study.sweep.keys.pilot.quantile)
    return write_decision(
        study.layout,
        TARGETS,
        TARGETS,
        inputs=inputs_hash(pilots),
        quantile=study.sweep.keys.pilot.quantile,
        targets={one.workload: one.value for one in derived},
        of=[asdict(one) for one in derived],
    )


def _decide_look(study: Study, status: Status, look: int, here: Sequence[Outcome]) -> bool:
    """Stop the candidates of which every question is decided; the others go on."""
    from tracking.questions.interim import DECIDED

    given_up = list_given_up(status)
    results = StudyResults(study, tuple(status.outcomes), status.stage, given_up)
    comparison = results.compare(complete=look)
    rows = [one for one in comparison.ledger if one.look == look]
    open_pairs = {
        (one.question.candidate, one.question.baseline)
        for one in comparison.confirmatory
        if one.verdict not in DECIDED
    }
    stage = status.stage
    assert stage.frozen is not None
    going_on = {name for pair in open_pairs for name in pair} if look < len(stage.looks) else set()
    keys = {one.name: one.key for one in study.sweep.candidates}
    frozen = set(stage.frozen.analysis.candidates.values())
    go_on = sorted({keys[name] for name in going_on} - stage.ended.keys())
    return write_decision(
        study.layout,
        f"look-{look}",
        "look",
        look=look,
        seeds=stage.looks[look - 1],
        analysis=stage.frozen.hash,
        inputs=inputs_hash(here),
        trials=sorted(one.trial.id for one in here),
        words=[asdict(one) for one in rows],
        open=sorted(open_pairs),
        go_on=go_on,
        stopped=sorted(frozen - set(go_on) - stage.ended.keys()),
    )
