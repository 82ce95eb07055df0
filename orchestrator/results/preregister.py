"""Preregistration: the analysis frozen before a comparison is measured, and deviations from it.

The logs decide what may still change: everything until a trial of the comparison has logged a
metric after step 0, then only questions of which neither arm has.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.contract.attempts import read_discards
from jobs.contract.quantities import quantity
from jobs.contract.source_digest import code_digest
from orchestrator.study.decisions import ANALYSIS, inputs_hash, name_analysis, write_decision
from orchestrator.study.stage import Stage
from orchestrator.study.study import Study
from orchestrator.study.tuning_rounds import Tuning
from orchestrator.sweep.search_space import TunedCandidate
from orchestrator.sweep.sweep import Sweep
from tracking.outcomes import Outcome, read_outcomes
from tracking.questions.analysis import (
    EXCLUSIONS,
    EXCLUSIONS_FROM_WINS,
    Analysis,
    Question,
    Registration,
    find_added,
)

_KEYS = {
    "alpha": "analysis.alpha",
    "rope_pp": "analysis.rope_pp",
    "margins": "analysis.margins",
    "primary": "analysis.primary",
    "endpoints": "analysis.endpoints",
    "shape": "analysis.limits",
    "looks": "seeds.looks",
    "root_seed": "root_seed",
}

# Of `tune`, what is not part of the candidates that are tuned; an edit of theirs makes new ones.
_RULE = ("repeats", "first_search", "widen", "proxy")


def declare_analysis(study: Study, targets: Mapping[str, float | None]) -> Analysis:
    """Return the analysis that a sweep declares; `targets` are those that pilots have given."""
    sweep, keys = study.sweep, study.sweep.keys
    return Analysis(
        questions=tuple(Question(*pair) for pair in sweep.questions),
        workloads={one.name: one.key for one in sweep.workloads},
        candidates={one.name: one.key for one in sweep.candidates},
        blocks=keys.seeds.blocks,
        root_seed=keys.root_seed,
        looks=keys.seeds.looks,
        shape=keys.analysis.limits,
        endpoints=sweep.endpoints,
        alpha=keys.alpha,
        rope_pp=keys.analysis.rope_pp,
        margins=dict(sweep.margins),
        primary=keys.analysis.primary,
        exclusions=EXCLUSIONS if keys.analysis.primary == "mean" else EXCLUSIONS_FROM_WINS,
        targets={
            one.name: targets.get(one.name, one.metric_spec.target) for one in sweep.workloads
        },
        code=code_digest(),
        tuning=_declare_tuning(sweep),
        confirms=() if keys.confirms is None else keys.confirms.attempts,
    )


def _declare_tuning(sweep: Sweep) -> dict[str, Any] | None:
    """Return the rule by which settings are found, JSON-ready; None if nothing is tuned."""
    tune = sweep.keys.tune
    if tune is None:
        return None
    written = tune.model_dump(mode="json", include=set(_RULE), exclude_defaults=True)
    tuned = [one for one in sweep.candidates if isinstance(one, TunedCandidate)]
    return written | {
        "repeats": sweep.searches,
        "widen": tune.widen,
        "candidates": {one.name: {"key": one.key} | one.search.to_json() for one in tuned},
    }


@dataclass(frozen=True)
class Measured:
    """What the comparison has shown so far: who has logged a metric after step 0, or has ended.

    Trials of earlier edits count, and results that were taken back: somebody may have seen them.
    `arms` are names and keys of candidates, `trials` the number of trials.
    """

    arms: frozenset[str]
    trials: int

    @staticmethod
    def read(study: Study, stage: Stage) -> "Measured":
        logged = [
            one
            for one in read_outcomes(study.layout.events, study.trials).values()
            if one.trial.phase == "compare" and one.is_measured
        ]
        arms: set[str] = set()
        for one in logged:
            candidate = one.trial.candidate
            arms |= {candidate.name, candidate.declared, candidate.key, stage.key_of(candidate)}
        return Measured(frozenset(arms), len(logged))


def freeze(study: Study, stage: Stage, outcomes: Sequence[Outcome]) -> bool:
    """Freeze the analysis; return True if that was written now, False if it is frozen or waits.

    It waits for targets, and for a sweep that asks questions; not for what tuning finds, since the
    rule of that is frozen.
    """
    if stage.frozen is not None or not study.sweep.questions or awaits_decisions(stage):
        return False
    return _write(
        study,
        1,
        declare_analysis(study, stage.targets),
        Measured.read(study, stage).trials,
        outcomes,
    )


def amend(study: Study, stage: Stage) -> Analysis | None:
    """Return the analysis that the sweep declares, as far as what was frozen may still change.

    None if nothing is frozen, or nothing changes. While no trial of the comparison has logged a
    metric, all may change; later a question may have another candidate if none of the two old and
    two new arms has logged any.
    """
    if stage.frozen is None or not study.sweep.questions or awaits_decisions(stage):
        return None
    frozen, declared = stage.frozen.analysis, declare_analysis(study, stage.targets)
    if replace(frozen, code=None).hash == replace(declared, code=None).hash:
        return None
    measured = Measured.read(study, stage)
    if not measured.trials:
        return declared
    amended = _replace_unmeasured(frozen, declared, measured.arms)
    return None if amended is frozen else amended


def freeze_again(study: Study, stage: Stage, outcomes: Sequence[Outcome]) -> bool:
    """Freeze what `amend` returns by the logs of this moment; return True if it was written."""
    frozen, analysis = stage.frozen, amend(study, stage)
    if frozen is None or analysis is None:
        return False
    if Measured.read(study, stage).trials:
        started, why = frozen.started, "neither arm of what was replaced had logged a metric"
    else:
        started, why = 0, "no trial of the comparison had logged a metric"
    return _write(study, len(frozen.versions) + 1, analysis, started, outcomes, why=why)


def awaits_decisions(stage: Stage) -> bool:
    """Return True if targets that belong to the analysis are still to be found."""
    return stage.awaits_targets


def _write(
    study: Study,
    number: int,
    analysis: Analysis,
    started: int,
    outcomes: Sequence[Outcome],
    **more: Any,
) -> bool:
    return write_decision(
        study.layout,
        name_analysis(number),
        ANALYSIS,
        hash=analysis.hash,
        inputs=inputs_hash(one for one in outcomes if one.trial.phase != "compare"),
        started=started,
        analysis=analysis.to_json(),
        **more,
    )


def _replace_unmeasured(
    frozen: Analysis, declared: Analysis, measured: frozenset[str]
) -> Analysis:
    """Return a frozen analysis in which questions nobody has seen anything of are replaced."""
    known = {_keys_of(one, frozen) for one in frozen.questions}
    asked = {_keys_of(one, declared) for one in declared.questions}
    come = [one for one in declared.questions if _keys_of(one, declared) not in known]
    amended = frozen
    for old in frozen.questions:
        keys = _keys_of(old, frozen)
        if keys in asked or measured & {*keys, old.candidate, old.baseline}:
            continue
        for new in come:
            new_keys = _keys_of(new, declared)
            shares = old == new or keys[0] == new_keys[0] or keys[1] == new_keys[1]
            if shares and not measured & {*new_keys, new.candidate, new.baseline}:
                amended = _replace_question(amended, keys, new, new_keys)
                come.remove(new)
                break
    if amended is frozen or declared.tuning is None:
        return amended
    rule = dict(frozen.tuning or declared.tuning)
    spaces = {**rule["candidates"], **declared.tuning["candidates"]}
    rule["candidates"] = {name: spaces[name] for name in amended.candidates if name in spaces}
    return replace(amended, tuning=rule)


def _replace_question(
    analysis: Analysis, old: tuple[str, str], new: Question, keys: tuple[str, str]
) -> Analysis:
    """Replace the question about the keys `old`; who has a name of the new one gives it up."""
    names = dict(zip((new.candidate, new.baseline), keys, strict=True))
    named = {
        name: f"{name} (as frozen)" if names.get(name, key) != key else name
        for name, key in analysis.candidates.items()
    }
    questions = [
        new
        if _keys_of(one, analysis) == old
        else Question(named[one.candidate], named[one.baseline])
        for one in analysis.questions
    ]
    left = {name for one in questions for name in (one.candidate, one.baseline)}
    others = {
        named[name]: key
        for name, key in analysis.candidates.items()
        if key not in old or named[name] in left
    }
    return replace(analysis, questions=tuple(questions), candidates=others | names)


def _keys_of(question: Question, analysis: Analysis) -> tuple[str, str]:
    keys = analysis.candidates
    return keys[question.candidate], keys[question.baseline]


def read_registration(
    study: Study, stage: Stage, outcomes: Sequence[Outcome]
) -> tuple[Registration, Analysis] | None:
    """Return what was frozen with every deviation from it, and that analysis by today's names.

    Renaming a candidate or a workload is no deviation. None if nothing is frozen.
    """
    frozen = stage.frozen
    if frozen is None:
        return None
    registered, now = frozen.analysis, declare_analysis(study, stage.targets)
    deviations: list[str] = []
    for file in frozen.edited:
        deviations.append(f"decisions/{file} was edited: its content has another hash by now")
    if frozen.started:
        deviations.append(
            f"it was frozen when {quantity(frozen.started, 'trial')} of the comparison had logged "
            "a metric"
        )
    deviations += describe_edits(registered, now)
    deviations += _describe_changes("candidate", registered.candidates, now.candidates)
    deviations += _describe_changes("workload", registered.workloads, now.workloads)
    deviations += _describe_blocks(registered.blocks, now.blocks)
    today = rename_analysis(registered, now)
    deviations += _describe_questions(today, now)
    deviations += _describe_discards(study)
    deviations += _describe_other_results(stage, study.tuning, outcomes)
    return Registration(
        registered,
        frozen.hash,
        frozen.time_ms,
        frozen.started,
        tuple(deviations),
        frozen.versions,
    ), today


def rename_analysis(registered: Analysis, now: Analysis) -> Analysis:
    """Name the candidates and workloads of an analysis as the sweep does now."""
    names = {key: name for name, key in now.candidates.items()}
    named = {old: names.get(key, old) for old, key in registered.candidates.items()}
    # A name that has another content by now is not the candidate that was agreed on.
    gone = [old for old, key in registered.candidates.items() if key not in names]
    named |= {old: f"{old} (as frozen)" for old in gone if old in now.candidates}
    questions = tuple(
        Question(named[one.candidate], named[one.baseline]) for one in registered.questions
    )
    return replace(registered, questions=questions)


def describe_edits(registered: Analysis, now: Analysis) -> Iterator[str]:
    """Yield a phrase for every choice that is another one now than was frozen."""
    for name, key in _KEYS.items():
        before, after = getattr(registered, name), getattr(now, name)
        if before != after:
            yield f"{key} is {_format(after)} by now; the frozen {_format(before)} counts"
    rule, edited = registered.tuning or {}, now.tuning or {}
    for name in _RULE if rule and edited else ():
        if name == "repeats" or "chosen" not in rule:  # an early version has these alone
            before, after = rule.get(name), edited.get(name)
            if before != after:
                yield f"tune.{name} is {_format(after)} by now, and was {_format(before)}"
    for name, target in registered.targets.items():
        new = now.targets.get(name, target)
        if new != target:
            yield f"target of {name} is {_format(new)} by now; the frozen {_format(target)} counts"


def _describe_changes(
    what: str, registered: Mapping[str, str], now: Mapping[str, str]
) -> Iterator[str]:
    added, removed = find_added(registered, now), find_added(now, registered)
    for name in now:
        if name in added:
            yield f"{what} {name} was added after the freezing: for exploration only"
    for name in registered:
        if name in removed:
            yield f"{what} {name} was removed, or is another one by now"


def _describe_blocks(registered: Sequence[int], now: Sequence[int]) -> Iterator[str]:
    added, removed = sorted(set(now) - set(registered)), sorted(set(registered) - set(now))
    if added:
        yield f"seeds {format_numbers(added)} were added after the freezing: for exploration only"
    if removed:
        yield f"seeds {format_numbers(removed)} were removed"


def _describe_questions(today: Analysis, now: Analysis) -> Iterator[str]:
    known = {name for one in today.questions for name in (one.candidate, one.baseline)}
    for one in now.questions:
        if one not in today.questions and {one.candidate, one.baseline} <= known:
            yield f"{one.candidate} vs {one.baseline} was asked after the freezing: exploration"
    for one in today.questions:
        if one not in now.questions:
            yield (
                f"{one.candidate} vs {one.baseline} is not asked any more: it stays in the family "
                "of tests, unanswered"
            )


def _describe_discards(study: Study) -> Iterator[str]:
    count = len(read_discards(study.layout))
    if count:
        yield f"results of {quantity(count, 'trial')} were taken back, to run again (`rerun`)"


def _describe_other_results(
    stage: Stage, tuning: Tuning, outcomes: Sequence[Outcome]
) -> Iterator[str]:
    for number, decision in enumerate(tuning.winners, 1):
        if not _has_same_inputs(decision, outcomes):
            what = "winners" if number == 1 else f"winners {number}"
            yield f"{what} were chosen by other results of tuning than there are now"
    for number, decision in enumerate(stage.decisions, 1):
        if not _has_same_inputs(decision, outcomes):
            yield f"look {number} was decided by other results than there are now"


def _has_same_inputs(decision: Mapping[str, Any], outcomes: Sequence[Outcome]) -> bool:
    """Return True if the trials that a decision was taken by still have the same results."""
    trials = set(decision["trials"])
    results = inputs_hash(one for one in outcomes if one.trial.id in trials)
    return bool(results == decision["inputs"])


def _format(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {margin:g}" for name, margin in value.items()) or "none"
    return "none" if value is None else str(value)


def format_numbers(numbers: Sequence[int]) -> str:
    """Write rising numbers: 3-5 if they follow each other, else 3, 5."""
    first, last = numbers[0], numbers[-1]
    whole = len(numbers) > 2 and last - first == len(numbers) - 1
    return f"{first}-{last}" if whole else ", ".join(map(str, numbers))
