"""The comparison of a study as it was agreed on: what was frozen counts, additions explore.

The arithmetic is `tracking`'s; here is which trials go into it.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from orchestrator.results.preregister import read_registration
from orchestrator.results.winners import summarize_tuning
from orchestrator.study.stage import Stage
from orchestrator.study.study import Study
from tracking.compare.analysis import Analysis, Question
from tracking.compare.compare import compare
from tracking.compare.endpoints import ComparisonError
from tracking.compare.interim import Looks, Saved
from tracking.compare.result import Comparison, Difference
from tracking.outcomes import Outcome


def answer_questions(
    study: Study, stage: Stage, outcomes: Sequence[Outcome], complete: int | None = None
) -> Comparison:
    """Answer the questions of a study; `complete` looks are seen, by default the decided ones."""
    compared = [
        one for one in with_frozen_targets(outcomes, stage) if one.trial.phase == "compare"
    ]
    if not compared:
        raise ComparisonError(
            "there is nothing to compare yet: tuning has to choose the settings first; see "
            f"`thermolion status {study.name}`"
        )
    compared_as = _answered(study, stage, outcomes, compared, complete)
    return replace(compared_as, tuning=summarize_tuning(study, outcomes))


def _answered(
    study: Study,
    stage: Stage,
    outcomes: Sequence[Outcome],
    compared: Sequence[Outcome],
    complete: int | None,
) -> Comparison:
    questions = [Question(*pair) for pair in study.sweep.questions]
    name, found = study.name, read_registration(study, stage, outcomes)
    if found is None:
        keys = study.sweep.keys.analysis
        looks = _looks(study, stage, 0)
        return compare(
            name, compared, questions, rope_pp=keys.rope_pp, alpha=keys.alpha, looks=looks
        )
    registered, analysis = found
    agreed = _agreed(compared, analysis)
    looks = _looks(study, stage, len(stage.decisions) if complete is None else complete)
    comparison = compare(name, agreed, questions, analysis=analysis, looks=looks)
    later: tuple[Difference, ...] = ()
    if complete is None and len(agreed) < len(compared):
        later = _explored(name, compared, questions)
    saved = None if looks is None else _saved(study, stage, compared)
    return replace(comparison, registration=registered, later=later, saved=saved)


def with_frozen_targets(outcomes: Sequence[Outcome], stage: Stage) -> list[Outcome]:
    """Give the trials the targets that were frozen, where any were."""
    by_key: dict[str, float | None] = {}
    if stage.frozen is not None:
        agreed = stage.frozen.analysis
        by_key = {key: agreed.targets.get(name) for name, key in agreed.workloads.items()}
    return [_aimed(one, by_key) for one in outcomes]


def _aimed(outcome: Outcome, targets: dict[str, float | None]) -> Outcome:
    workload = outcome.trial.workload
    if workload.key not in targets or workload.metric_spec.target == targets[workload.key]:
        return outcome
    reading = replace(workload.metric_spec, target=targets[workload.key])
    trial = replace(outcome.trial, workload=replace(workload, declared_metric=reading))
    return replace(outcome, trial=trial)


def _agreed(outcomes: Sequence[Outcome], analysis: Analysis) -> list[Outcome]:
    """Leave out seeds and workloads that were added after the freezing.

    Candidates that were added stay: their questions are no part of the family.
    """
    keys, blocks = set(analysis.workloads.values()), set(analysis.blocks)
    return [
        one for one in outcomes if one.trial.workload.key in keys and one.trial.block in blocks
    ]


def _explored(
    name: str, outcomes: Sequence[Outcome], questions: Sequence[Question]
) -> tuple[Difference, ...]:
    """Answer with all trials that there are, whatever was agreed on."""
    ended = [one for one in outcomes if one.has_result]
    known = {one.trial.candidate.name for one in ended}
    asked = [one for one in questions if {one.candidate, one.baseline} <= known]
    return compare(name, ended, asked).pooled if asked else ()


def _looks(study: Study, stage: Stage, complete: int) -> Looks | None:
    if not stage.looks:
        return None
    names = {one.key: one.name for one in study.sweep.candidates}
    ended = {
        names[key]: look for key, look in stage.ended.items() if key in names and look < complete
    }
    shape = stage.frozen.analysis.shape if stage.frozen else study.sweep.keys.analysis.limits
    return Looks(stage.looks, shape, complete, ended)


def _saved(study: Study, stage: Stage, outcomes: Sequence[Outcome]) -> Saved:
    """Estimate what the spared trials would have taken, by those of their kind that have run."""
    took: dict[tuple[str, str], list[float]] = {}
    for one in outcomes:
        if one.has_result and one.train_seconds is not None:
            took.setdefault(_kind(one), []).append(one.train_seconds)
    spared = [
        one for one in outcomes if stage.wanted(one.trial) == "spared" and not one.has_result
    ]
    known = [one for one in spared if _kind(one) in took]
    cuda = study.sweep.keys.resources.device == "cuda"

    def hours(one: Outcome, seconds: float) -> float:
        return seconds / 3600 * one.trial.world_size * (1 if cuda else one.trial.threads)

    return Saved(
        trials=len(spared),
        of=len(outcomes),
        hours=sum(hours(one, fmean(took[_kind(one)])) for one in known),
        spent_hours=sum(hours(one, one.train_seconds or 0.0) for one in outcomes),
        unit="GPU hours" if cuda else "core hours",
        unknown=len(spared) - len(known),
    )


def _kind(one: Outcome) -> tuple[str, str]:
    return one.trial.workload.name, one.trial.candidate.name
