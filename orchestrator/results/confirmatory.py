"""The confirmatory comparison of a study: what was frozen counts, later additions explore.

Chooses the trials that are compared; the arithmetic is `tracking`'s.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from statistics import fmean

from jobs.contract.failures import FailureClass
from orchestrator.results.asked import Asked
from orchestrator.results.given_up import find_given_up
from orchestrator.results.preregister import declare_analysis, read_registration
from orchestrator.results.untuned import find_untuned
from orchestrator.results.winners import summarize_tuning
from orchestrator.study.stage import Stage
from orchestrator.study.study import Study
from orchestrator.sweep.search_space import TunedCandidate
from tracking.compare.compare import compare
from tracking.compare.endpoints import ComparisonError
from tracking.compare.result import Comparison, Difference
from tracking.outcomes import Outcome
from tracking.questions.analysis import Analysis, Question, find_added
from tracking.questions.endpoint import STANDARD
from tracking.questions.interim import Looks, Savings
from tracking.questions.units import Units

_LATE = "its result came after the look was closed"
_NOBODY: FailureClass = "LOST"  # not by its training, as far as anybody knows


def answer_questions(
    study: Study,
    stage: Stage,
    outcomes: Sequence[Outcome],
    complete: int | None = None,
    given_up: Mapping[str, str] | None = None,
    asked: Asked | None = None,
) -> Comparison:
    """Answer the questions of a study from `complete` looks, by default all that are decided.

    `given_up` are the trials that will not run again, with their class of failure; they are found
    if it is None. What is `asked` on the command line takes the place of what was declared.
    """
    compared = [
        one for one in with_frozen_targets(outcomes, stage) if one.trial.phase == "compare"
    ]
    if not compared:
        raise ComparisonError(
            "there is nothing to compare yet: tuning has to choose the settings first; see "
            f"`thermolion status {study.name}`"
        )
    if given_up is None:
        given_up = find_given_up(study, compared)
    if asked is None:
        comparison = _compare(study, stage, outcomes, compared, complete, given_up)
    else:
        comparison = _explore(study, stage, asked.read(compared), given_up, asked)
    tuning = summarize_tuning(study, outcomes)
    untuned = find_untuned(study, stage.frozen is not None)
    return replace(comparison, tuning=tuning, untuned=untuned)


def _compare(
    study: Study,
    stage: Stage,
    outcomes: Sequence[Outcome],
    compared: Sequence[Outcome],
    complete: int | None,
    given_up: Mapping[str, str],
) -> Comparison:
    compared, given_up = _leave_out_late(compared, stage), {**given_up, **_give_up(stage)}
    questions = [Question(*pair) for pair in study.sweep.questions]
    name, registration = study.name, read_registration(study, stage, outcomes)
    ask = partial(compare, name, units=read_units(study), given_up=given_up)
    if registration is None:
        declared = declare_analysis(study, stage.targets)
        looks = _read_looks(study, stage, 0)
        comparison = ask(compared, questions, analysis=declared, looks=looks)
        # Nothing was declared in time for trials that have begun.
        return replace(comparison, exploratory=any(one.attempts for one in compared))
    registered, analysis = registration
    confirmatory = _leave_out_additions(compared, analysis)
    looks = _read_looks(study, stage, len(stage.decisions) if complete is None else complete)
    if not confirmatory:  # none of the workloads that were frozen is left
        declared = declare_analysis(study, stage.targets)
        confirmatory, analysis = list(compared), _explore_all(analysis, declared)
    closed = (1 if looks is None else looks.complete) in stage.closed
    notes = _describe_closed(stage, looks)
    comparison = ask(
        confirmatory, questions, analysis=analysis, looks=looks, closed=closed, notes=notes
    )
    later: tuple[Difference, ...] = ()
    if complete is None and len(confirmatory) < len(compared):
        # Of all trials that are asked for by now, confirmatory or not, once all of them are in.
        declared = declare_analysis(study, stage.targets)
        later = ask(compared, questions, analysis=declared).pooled
    tuned = [one for one in outcomes if one.trial.phase == "tune"]
    saved = None if looks is None else _estimate_saved(study, stage, [*compared, *tuned])
    ledger = tuple(replace(one, closed=one.look in stage.closed) for one in comparison.ledger)
    return replace(comparison, registration=registered, later=later, saved=saved, ledger=ledger)


def _explore(
    study: Study,
    stage: Stage,
    compared: Sequence[Outcome],
    given_up: Mapping[str, str],
    asked: Asked,
) -> Comparison:
    """Answer what the command line asks, of all trials of the looks that are complete."""
    compared = _leave_out_late(compared, stage)
    declared = declare_analysis(study, stage.targets)
    names = [one.name for one in study.sweep.candidates]
    questions = [Question(*pair) for pair in asked.ask(study.sweep.questions, names)]
    analysis = replace(declared, questions=tuple(questions))
    if asked.reads:  # the declared margins are of another metric
        analysis = replace(analysis, endpoints=STANDARD, margins={})
    looks = _read_looks(study, stage, len(stage.decisions))
    comparison = compare(
        study.name,
        compared,
        questions,
        analysis=analysis,
        looks=looks,
        notes=[asked.describe()],
        units=read_units(study),
        given_up={**given_up, **_give_up(stage)},
        closed=(1 if looks is None else looks.complete) in stage.closed,
    )
    return replace(comparison, exploratory=True, asked=True)


def _leave_out_late(outcomes: Sequence[Outcome], stage: Stage) -> list[Outcome]:
    """Take the results away of trials that came after their look was closed without them."""
    return [
        Outcome(one.trial, state="failed", error=_LATE)
        if one.has_result and one.trial.id in stage.left_out
        else one
        for one in outcomes
    ]


def _give_up(stage: Stage) -> Mapping[str, str]:
    """Return the class of failure of trials that a closed look waits for no more."""
    return {trial: kind or _NOBODY for trial, kind in stage.left_out.items()}


def _describe_closed(stage: Stage, looks: Looks | None) -> list[str]:
    """Say which looks were ended with trials missing."""
    last = 1 if looks is None else looks.complete
    notes = []
    for number, one in sorted(stage.closed.items()):
        if number <= last:
            date = datetime.fromtimestamp(one.time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
            which = "The comparison" if looks is None else f"Look {number}"
            missing = f"{len(one.missing)} trial{'s' * (len(one.missing) != 1)}"
            notes.append(
                f"{which} was closed by hand (--close-look) {date} with {missing} missing: their "
                "blocks are left out, and so is what came of them later."
            )
    return notes


def with_frozen_targets(outcomes: Sequence[Outcome], stage: Stage) -> list[Outcome]:
    """Give the trials the targets that were frozen, if any were."""
    by_key: dict[str, float | None] = {}
    if stage.frozen is not None:
        frozen = stage.frozen.analysis
        by_key = {key: frozen.targets.get(name) for name, key in frozen.workloads.items()}
    return [_with_target(one, by_key) for one in outcomes]


def _with_target(outcome: Outcome, targets: dict[str, float | None]) -> Outcome:
    workload = outcome.trial.workload
    if workload.key not in targets or workload.metric_spec.target == targets[workload.key]:
        return outcome
    spec = replace(workload.metric_spec, target=targets[workload.key])
    trial = replace(outcome.trial, workload=replace(workload, declared_metric=spec))
    return replace(outcome, trial=trial)


def _leave_out_additions(outcomes: Sequence[Outcome], analysis: Analysis) -> list[Outcome]:
    """Leave out seeds and workloads that were added after the freezing.

    Candidates that were added stay: their questions are no part of the family.
    """
    workloads = {one.trial.workload.name: one.trial.workload.key for one in outcomes}
    added, blocks = find_added(analysis.workloads, workloads), set(analysis.blocks)
    return [
        one
        for one in outcomes
        if one.trial.workload.name not in added and one.trial.block in blocks
    ]


def _explore_all(frozen: Analysis, declared: Analysis) -> Analysis:
    """Return an analysis of what is declared now by the rules of the frozen one.

    Its questions are none that can be asked now, so all of them are unanswered.
    """
    asked = (Question(f"{q.candidate} (as frozen)", q.baseline) for q in frozen.questions)
    return replace(
        frozen,
        questions=tuple(asked),
        workloads=declared.workloads,
        blocks=declared.blocks,
    )


def read_units(study: Study) -> Units:
    """Return what the answers of a study count: its blocks, or searches if it tunes several."""
    tuned = (one.name for one in study.sweep.candidates if isinstance(one, TunedCandidate))
    return Units(study.sweep.searches, frozenset(tuned))


def _read_looks(study: Study, stage: Stage, complete: int) -> Looks | None:
    if not stage.looks:
        return None
    names = {one.key: one.name for one in study.sweep.candidates}
    ended = {
        names[key]: look for key, look in stage.ended.items() if key in names and look < complete
    }
    shape = stage.frozen.analysis.shape if stage.frozen else study.sweep.keys.analysis.limits
    return Looks(stage.looks, shape, complete, ended, stage.first)


@dataclass(frozen=True)
class _Skipped:
    """A trial that was never to run: its kind, and the processes and threads it would take."""

    kind: tuple[str, str, str]
    world_size: int
    threads: int


def _estimate_saved(study: Study, stage: Stage, outcomes: Sequence[Outcome]) -> Savings:
    """Estimate what the skipped trials would have taken, by those of their kind that have run."""
    took: dict[tuple[str, str, str], list[float]] = {}
    for one in outcomes:
        if one.has_result and one.train_seconds is not None:
            took.setdefault(_kind(one), []).append(one.train_seconds)
    planned = [
        _Skipped(_kind(one), one.trial.world_size, one.trial.threads)
        for one in outcomes
        if stage.wanted(one.trial) == "spared"
        and not one.has_result
        and one.trial.id not in stage.left_out
    ]
    unplanned = list(_list_unplanned(study, stage))
    skipped = [*planned, *unplanned]
    known = [one for one in skipped if one.kind in took]
    cuda = study.sweep.keys.resources.device == "cuda"

    def hours(seconds: float, world_size: int, threads: int) -> float:
        return seconds / 3600 * world_size * (1 if cuda else threads)

    return Savings(
        trials=len(skipped),
        of=len(outcomes) + len(unplanned),
        hours=sum(hours(fmean(took[one.kind]), one.world_size, one.threads) for one in known),
        spent_hours=sum(
            hours(one.train_seconds or 0.0, one.trial.world_size, one.trial.threads)
            for one in outcomes
        ),
        unit="GPU hours" if cuda else "core hours",
        unknown=len(skipped) - len(known),
    )


def _list_unplanned(study: Study, stage: Stage) -> Iterator[_Skipped]:
    """Yield the skipped trials that no plan has, since nobody will choose their settings.

    They are those of the comparison, and those of a search that results would have suggested.
    """
    keys = study.sweep.keys
    names = {key: name for name, key in stage.tuned.items()}
    for one in stage.spared_settings:
        name, threads = names[one.candidate], keys.resources.cpus_per_task
        blocks = [
            block
            for block in keys.seeds.blocks
            if stage.first_block(block % stage.searches) == one.block
        ]
        for workload in one.workloads:
            kind = ("compare", workload.name, name)
            yield from [_Skipped(kind, workload.ranks, threads)] * len(blocks)
        first, tune = one.workloads[0], keys.tune
        ranks = first.ranks if tune is None or tune.ranks is None else tune.ranks
        yield from [_Skipped(("tune", first.name, name), ranks, threads)] * one.to_suggest


def _kind(one: Outcome) -> tuple[str, str, str]:
    """Return what trials that take about as long share: all settings of a candidate do."""
    return one.trial.phase, one.trial.workload.name, one.trial.candidate.declared
