"""Two studies against each other, by the blocks that both have.

Decides which trials may be paired, and refuses the others; the comparison is `tracking`'s.
"""

import itertools
from collections.abc import Mapping
from dataclasses import replace

from jobs.contract.trial import Trial
from orchestrator.results.comparison_input import ComparisonInput
from orchestrator.results.conclude import StudyResults
from orchestrator.results.given_up import find_given_up
from orchestrator.study.study import Study
from orchestrator.sweep.document import SweepError
from orchestrator.sweep.search_space import TunedCandidate
from tracking.outcomes import Outcome
from tracking.questions.units import Units

_BlockKey = tuple[str, int, tuple[tuple[str, int], ...]]


def pair_studies(first: Study, second: Study) -> ComparisonInput:
    """Pair the candidates that only one study has with those that only the other has.

    Blocks are paired if both studies have the workload, by content, and the seeds. Raises
    SweepError if no block is.
    """
    names = first.name, second.name
    if first.layout.folder == second.layout.folder:
        raise SweepError(f"{names[0]} is named twice: compare it alone, or with another study")
    records = StudyResults.read(first), StudyResults.read(second)
    one, other = (
        {_block_key(trial): trial for trial in each.trials if trial.phase == "compare"}
        for each in (first, second)
    )
    shared = sorted(set(one) & set(other))
    if not shared:
        raise SweepError(_explain_unpaired(first, second))
    for place in shared:
        _require_alike(one[place], other[place], names)
    mine, theirs = ({c.key: c for c in each.sweep.candidates} for each in (first, second))
    alone = [key for key in mine if key not in theirs], [key for key in theirs if key not in mine]
    if not all(alone):
        raise SweepError(
            f"{' and '.join(names)} have the same candidates, so there is nothing to ask across "
            "them: add the seeds of one to the other, and compare that"
        )
    labels = _label_candidates(first, second)
    workloads = {trial.workload.key: trial.workload for trial in one.values()}
    outcomes: dict[tuple[str, int, str], Outcome] = {}
    chosen_twice: dict[str, None] = {}
    for record in records:
        for outcome in record.outcomes:
            trial = outcome.trial
            if _block_key(trial) not in shared:
                continue
            label = labels[record.study.name, record.stage.key_of(trial.candidate)]
            candidate = replace(trial.candidate, name=label)
            workload = workloads[trial.workload.key]
            moved = replace(trial, candidate=candidate, workload=workload)
            cell = workload.name, trial.block, label
            known = outcomes.setdefault(cell, replace(outcome, trial=moved))
            if known.trial.candidate.key != candidate.key:
                chosen_twice[label] = None
    questions = [(labels[names[0], a], labels[names[1], b]) for a, b in itertools.product(*alone)]
    notes = _note_left_out(first, second, set(shared))
    notes += [
        f"Each study has chosen settings of its own for {label}: shown are those of {names[0]}."
        for label in chosen_twice
    ]
    given_up: dict[str, str] = {}
    for record in records:
        given_up |= find_given_up(record.study, record.outcomes)
    as_declared = {
        labels[study.name, one.key]: one
        for study in (first, second)
        for one in study.sweep.candidates
        if not isinstance(one, TunedCandidate)
    }
    return ComparisonInput(
        f"{names[0]} and {names[1]}",
        tuple(outcomes.values()),
        tuple(questions),
        tuple(notes),
        tuple(replace(one, name=label) for label, one in as_declared.items()),
        _read_common_units(first, second, labels),
        given_up,
    )


def _read_common_units(
    first: Study, second: Study, labels: Mapping[tuple[str, str], str]
) -> Units:
    """Return the units of two studies together; raises SweepError if their searches cross."""
    tuned = {
        labels[study.name, one.key]: study
        for study in (first, second)
        for one in study.sweep.candidates
        if isinstance(one, TunedCandidate)
    }
    counts = {study.name: study.sweep.searches for study in tuned.values()}
    several = {name: count for name, count in counts.items() if count > 1}
    if len(set(several.values())) > 1:
        listed = " and ".join(f"{count} searches in {name}" for name, count in several.items())
        raise SweepError(
            f"the blocks have the settings of {listed}, so they form no groups that are "
            "independent of each other: tune one of the studies again with the other's `repeats`"
        )
    return Units(max(several.values(), default=1), frozenset(tuned))


def _block_key(trial: Trial) -> _BlockKey:
    """Return what the trials of a block share: workload, number and seeds but that of noise."""
    seeds = tuple(sorted((k, v) for k, v in trial.seeds.items() if k != "noise"))
    return trial.workload.key, trial.block, seeds


def _explain_unpaired(first: Study, second: Study) -> str:
    both = f"{first.name} and {second.name} have no block in common, so no trial"
    advice = "differences would be of seeds and data as much as of candidates"
    if first.sweep.keys.root_seed != second.sweep.keys.root_seed:
        seeds = f"root_seed {first.sweep.keys.root_seed} and {second.sweep.keys.root_seed}"
        return f"{both} is paired ({seeds}): {advice}; run one again with the other's root_seed"
    keys = [{one.key for one in each.sweep.workloads} for each in (first, second)]
    if not keys[0] & keys[1]:
        listed = " against ".join(
            ", ".join(one.name for one in each.sweep.workloads) for each in (first, second)
        )
        return (
            f"{both} is paired: their workloads differ in content ({listed}); {advice}; "
            "`plan --json` shows both in full"
        )
    return f"{both} is paired: their seeds are other ones; {advice}"


def _require_alike(one: Trial, other: Trial, names: tuple[str, str]) -> None:
    for what in ("precision", "world_size", "execution"):
        values = getattr(one, what), getattr(other, what)
        if values[0] != values[1]:
            raise SweepError(
                f"{names[0]} and {names[1]} differ in {what} ({values[0]} and {values[1]}), which "
                "would be part of every difference: run one again like the other"
            )


def _label_candidates(first: Study, second: Study) -> dict[tuple[str, str], str]:
    """Return a name for every candidate of either study, by study and key.

    Candidates of one name and different content get different names.
    """
    mine = {one.name: one.key for one in first.sweep.candidates}
    known = {key: name for name, key in mine.items()}
    labels = {(first.name, key): name for key, name in known.items()}
    for one in second.sweep.candidates:
        clash = mine.get(one.name, one.key) != one.key
        name = f"{one.name} ({second.name})" if clash else one.name
        labels[second.name, one.key] = known.get(one.key, name)
    return labels


def _note_left_out(first: Study, second: Study, shared: set[_BlockKey]) -> list[str]:
    notes = []
    for study in (first, second):
        alone = {
            f"{trial.workload.name}, block {trial.block}"
            for trial in study.trials
            if trial.phase == "compare" and _block_key(trial) not in shared
        }
        if alone:
            notes.append(
                f"Only {study.name} has {'; '.join(sorted(alone))}: left out, for want of a pair."
            )
    return notes
