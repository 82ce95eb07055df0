"""Runs of other tools as outcomes, paired by their seeds, to be compared like trials of ours.

Only what such runs logged is known: whether the runs of a block share their split, initial
weights and order of data is not.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from jobs.contract.content import digest
from jobs.contract.quantities import quantity
from jobs.contract.trial import Candidate, Trial
from jobs.contract.workloads.workload import MetricSpec, UserWorkload
from tracking.foreign.measured_run import MeasuredRun, find_impossible, measure_run
from tracking.foreign.run import ForeignRun, ForeignRuns, RunSourceError, list_names
from tracking.foreign.run_fields import RunFields
from tracking.foreign.run_settings import Cell, explain_duplicate, note_mixtures
from tracking.foreign.training_lengths import leave_out_unlike_lengths, note_any_length
from tracking.logs import Point
from tracking.outcomes import Outcome
from tracking.report.wording import ranges

_NAMED = 3  # runs that a message names before it counts
_FEW = 0.5  # the share of runs with impossible values above which the unit is wrong, not they

Duplicates = Literal["first", "last"]


@dataclass(frozen=True)
class PairingRules:
    """How runs are paired if they don't pair by themselves.

    `duplicates`: which of several finished runs of one cell counts; None refuses them. `at_step`:
    the step at which all are compared. `any_length`: last values count after whatever number of
    steps. `unpaired`: seeds pair nothing. `separate`: equal seeds on two workloads share nothing.
    """

    duplicates: Duplicates | None = None
    at_step: int | None = None
    any_length: bool = False
    unpaired: bool = False
    separate: bool = False


@dataclass(frozen=True)
class PairedRuns:
    """Outcomes by the order of candidates and seeds, and in words what was left out."""

    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ForeignWorkload(UserWorkload):
    """What runs of another tool were trained on; `is_shared` if other workloads have its seeds.

    What they share is not known, so it is taken for the data, as if they differed in settings.
    """

    is_shared: bool = False

    @property
    def data_set(self) -> str:
        return self.train or "" if self.is_shared else self.name

    @cached_property
    def key(self) -> str:
        """Equal for the workloads that share seeds."""
        return digest({"train": self.train}) if self.is_shared else digest(self.content())


def pair_runs(found: ForeignRuns, name: str, fields: RunFields, rules: PairingRules) -> PairedRuns:
    """Return the runs of a source as outcomes; `name` stands for the workload if no field does.

    A failed run is dropped if the same cell has a finished one. Raises RunSourceError for fields
    that no run has, several finished runs of a cell, and runs that no step is common to.
    """
    groups, notes = _group(found, name, fields)
    if rules.at_step is not None:
        _require_step(found, rules.at_step)
    spec = fields.metric_spec
    measured = {
        cell: [measure_run(run, spec, rules.at_step) for run in runs]
        for cell, runs in groups.items()
    }
    cells = _choose(measured, fields, rules, notes)
    notes += note_mixtures({cell: one.run for cell, one in cells.items()}, fields)
    cells = _drop_twins(cells, fields, notes)
    cells = _leave_out_impossible(cells, spec, notes)
    if rules.any_length:
        notes += note_any_length(cells)
    else:
        cells, of_lengths = leave_out_unlike_lengths(cells)
        notes += of_lengths
    notes += _note_divergences(cells, spec)
    shared = _find_shared(cells, rules)
    if shared:
        notes.append(_explain_shared(shared, fields, rules))
    notes.append(_describe(found.label, fields, rules))
    blocks = _number_blocks(cells, rules)
    outcomes = [
        _outcome(one, _trial(cell, blocks[cell], name, fields, cell[0] in shared))
        for cell, one in cells.items()
    ]
    ordered = sorted(outcomes, key=lambda one: (one.trial.workload.name, one.trial.block))
    return PairedRuns(tuple(ordered), tuple(notes))


def _require_step(found: ForeignRuns, step: int) -> None:
    """Raise RunSourceError if no run has come to a step."""
    furthest = max((run.curve[-1].step for run in found.runs if run.curve), default=None)
    if furthest is None:
        raise RunSourceError(f"--at-step {step}: the runs of {found.label} have no curves")
    if furthest < step:
        raise RunSourceError(
            f"--at-step {step}: no run of {found.label} has come so far, the furthest is at "
            f"{furthest}"
        )


def require_pairs(
    outcomes: Sequence[Outcome], questions: Sequence[tuple[str, str]], fields: RunFields
) -> list[str]:
    """Return notes on the questions whose candidates have no seed in common.

    Raises RunSourceError if none has one.
    """
    blocks: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for one in outcomes:
        blocks[one.trial.candidate.name].add((one.trial.workload.name, one.trial.block))
    apart = [pair for pair in questions if not blocks[pair[0]] & blocks[pair[1]]]
    if not apart:
        return []
    seeds = ", ".join(fields.seed)
    listed = ""
    if all(one.trial.seeds for one in outcomes):  # else blocks have numbers of their own
        listed = "; ".join(f"{one}: {_list_blocks(blocks[one])}" for one in apart[0])
    text = (
        f"{' and '.join(apart[0])} have no {seeds} in common{f' ({listed})' * bool(listed)}, so "
        "that nothing pairs them: --unpaired compares them without pairs, by Welch's t test"
    )
    if len(apart) == len(questions):
        raise RunSourceError(text)
    more = "" if len(apart) == 1 else f" The same holds for {len(apart) - 1} more questions."
    return [f"{text}.{more}"]


def _list_blocks(blocks: Collection[tuple[str, int]]) -> str:
    by_workload: dict[str, list[int]] = defaultdict(list)
    for workload, block in blocks:
        by_workload[workload].append(block)
    listed = {name: ranges(numbers) for name, numbers in sorted(by_workload.items())}
    if len(set(listed.values())) == 1:
        return next(iter(listed.values()))
    return "; ".join(f"{numbers} on {name}" for name, numbers in listed.items())


def _group(
    found: ForeignRuns, name: str, fields: RunFields
) -> tuple[dict[Cell, list[ForeignRun]], list[str]]:
    """Return the runs of every cell, in the order of the source; without a seed each is a cell."""
    known = {one for run in found.runs for one in run.fields}
    for field in fields.all:
        if field not in known:
            raise RunSourceError(
                f"no run of {found.label} has {field}: its runs have "
                f"{list_names(sorted(known)) or 'nothing'}"
            )
    groups: dict[Cell, list[ForeignRun]] = {}
    lacking: dict[str, list[str]] = {}
    for run in found.runs:
        missing = fields.missing(run.fields)
        if missing:
            lacking.setdefault(", ".join(missing), []).append(run.name)
            continue
        cell = (
            fields.name_workload(run.fields, name),
            fields.name_candidate(run.fields),
            fields.name_seed(run.fields) if fields.seed else run.id,
        )
        groups.setdefault(cell, []).append(run)
    without = [f"{_count_runs(named)} without {what}" for what, named in lacking.items()]
    if not groups:
        raise RunSourceError(
            f"no run of {found.label} has all of {', '.join(fields.all)}: {'; '.join(without)}"
        )
    return groups, [f"{what}: left out." for what in without]


def _choose(
    measured: Mapping[Cell, Sequence[MeasuredRun]],
    fields: RunFields,
    rules: PairingRules,
    notes: list[str],
) -> dict[Cell, MeasuredRun]:
    """Return the run of every cell that counts; raises RunSourceError if several do."""
    cells: dict[Cell, MeasuredRun] = {}
    several: dict[Cell, Sequence[MeasuredRun]] = {}
    replaced: list[str] = []
    for cell, runs in measured.items():
        ended = [one for one in runs if _is_finished(one)]
        if len(ended) > 1:
            several[cell] = ended
        cells[cell] = (ended or runs)[0 if ended and rules.duplicates == "first" else -1]
        if ended and len(ended) < len(runs):
            replaced += [one.run.name for one in runs if not _is_finished(one)]
    if several and rules.duplicates is None:
        raise RunSourceError(_explain_duplicates(several, fields))
    if several:
        left = sum(len(runs) - 1 for runs in several.values())
        notes.append(
            f"{quantity(len(several), 'seed')} of a candidate had several finished runs: the "
            f"{rules.duplicates} of each counts, {quantity(left, 'run')} left out."
        )
    if replaced:
        notes.append(
            f"{_count_runs(replaced)} without an end or a value gave way to a finished run of "
            "the same seed."
        )
    return cells


def _is_finished(one: MeasuredRun) -> bool:
    """Return True if a run has come to its end by itself, even if it has diverged there.

    One that has logged nothing of what is compared gives way to one that has.
    """
    if not one.run.latest:
        return False
    return one.state == "completed" or (one.state == "diverged" and one.run.state == "completed")


def _explain_duplicates(several: Mapping[Cell, Sequence[MeasuredRun]], fields: RunFields) -> str:
    cell, runs = next(iter(several.items()))
    workload, candidate, seed = cell
    ids = [one.run.id for one in runs]
    named = f"{', '.join(ids[:_NAMED])}" + (
        f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    )
    others = f" (so have {len(several) - 1} more)" if len(several) > 1 else ""
    text = (
        f"{candidate} on {workload}, seed {seed} has {_count(len(ids))} finished runs, "
        f"{named}{others}"
    )
    keep = "--duplicates first (or last) keeps one of each, --filter leaves runs out"
    differing, way_out = explain_duplicate([one.run for one in runs], fields)
    if differing is None:
        return f"{text}: {keep}"
    return f"{text}. They differ in {differing}: {way_out} tells them apart, or {keep}"


def _count(n: int) -> str:
    return "two" if n == 2 else str(n)


def _drop_twins(
    cells: Mapping[Cell, MeasuredRun], fields: RunFields, notes: list[str]
) -> dict[Cell, MeasuredRun]:
    """Leave out runs of a candidate with the curve of another seed: they are one run."""
    kept: dict[Cell, MeasuredRun] = {}
    seen: dict[object, Cell] = {}
    twins: list[tuple[Cell, Cell]] = []
    for cell, one in cells.items():
        trace = one.trace if one.state == "completed" else None
        first = cell if trace is None else seen.setdefault((cell[:2], trace), cell)
        if first == cell:
            kept[cell] = one
        else:
            twins.append((first, cell))
    if twins:
        (workload, candidate, first_seed), (_, _, seed) = twins[0]
        count = quantity(len(twins), "run")
        notes.append(
            f"{count} left out: {candidate} on {workload} has the same curve, value by value, for "
            f"{', '.join(fields.seed) or 'run'} {first_seed} and {seed}"
            f"{f', and {len(twins) - 1} more are alike' if len(twins) > 1 else ''}. "
            "The training has not taken its seed, or a run was logged twice: they are one run."
        )
    return kept


def _leave_out_impossible(
    cells: Mapping[Cell, MeasuredRun], spec: MetricSpec, notes: list[str]
) -> dict[Cell, MeasuredRun]:
    """Return the runs, those whose values the unit does not allow without a result.

    Raises RunSourceError if they are so many that the unit is wrong.
    """
    faults = {
        cell: fault
        for cell, one in cells.items()
        if (fault := find_impossible(one, spec)) is not None
    }
    if not faults:
        return dict(cells)
    names = [cells[cell].run.name for cell in faults]
    fault = next(iter(faults.values()))
    if len(faults) > _FEW * len(cells):
        raise RunSourceError(
            f"{fault} in {_count_runs(names)} of {len(cells)}: name another --unit "
            "(fraction, percent or plain)"
        )
    notes.append(f"{_count_runs(names)} left out: {fault}.")
    return {
        cell: replace(one, state="failed", error=faults[cell]) if cell in faults else one
        for cell, one in cells.items()
    }


def _note_divergences(cells: Mapping[Cell, MeasuredRun], spec: MetricSpec) -> list[str]:
    """Say what runs that have diverged count as, if that is not declared."""
    names = [one.run.name for one in cells.values() if one.state == "diverged"]
    if not names or spec.chance is not None:
        return []
    text = (
        f"{_count_runs(names)} diverged. What a diverged run counts as is not known, so the means "
        "are without its block, and its candidate is called neither better nor equivalent: "
        "--chance X counts it as X."
    )
    return [text]


def _find_shared(cells: Collection[Cell], rules: PairingRules) -> frozenset[str]:
    """Return the workloads that have seeds in common with another one."""
    seeds: dict[str, set[str]] = defaultdict(set)
    for workload, _, seed in cells:
        seeds[workload].add(seed)
    if rules.separate or len(seeds) == 1:
        return frozenset()
    if rules.unpaired:
        return frozenset(seeds)
    counts = Counter(seed for of_one in seeds.values() for seed in of_one)
    return frozenset(
        name for name, of_one in seeds.items() if any(counts[seed] > 1 for seed in of_one)
    )


def _explain_shared(shared: Collection[str], fields: RunFields, rules: PairingRules) -> str:
    have, unit = ("", "run") if rules.unpaired else ("have the same seeds, and ", "seed")
    return (
        f"{quantity(len(shared), 'workload')} by {', '.join(fields.workload)} {have}may be the "
        f"same data with other settings, so that a {unit} counts once and not on each: "
        "--separate-workloads counts it on each, as is right for data sets of their own."
    )


def _describe(label: str, fields: RunFields, rules: PairingRules) -> str:
    if rules.unpaired:
        return (
            f"These are runs of {label}, compared without pairs, by Welch's t test: each run "
            "counts as one that is independent of all others."
        )
    return (
        f"These are runs of {label}, paired by {', '.join(fields.seed)} alone: whether the runs "
        "of a block share their split, initial weights and order of data is not known here."
    )


def _number_blocks(cells: Iterable[Cell], rules: PairingRules) -> dict[Cell, int]:
    """Number the blocks as the seeds if these are whole numbers, else in their order.

    Without pairs every run has a block of its own: one that is no seed of another run.
    """
    listed = list(cells)
    seeds = {seed for _, _, seed in listed}
    are_whole = all(seed.isascii() and seed.isdecimal() for seed in seeds)
    if rules.unpaired and (not are_whole or len(seeds) < len(listed)):
        first = 1 + max(map(int, seeds)) if are_whole else 0
        return {cell: number for number, cell in enumerate(listed, first)}
    if are_whole:
        return {cell: int(cell[2]) for cell in listed}
    numbers = {seed: number for number, seed in enumerate(sorted(seeds))}
    return {cell: numbers[cell[2]] for cell in listed}


def _trial(cell: Cell, block: int, name: str, fields: RunFields, is_shared: bool) -> Trial:
    workload, candidate, seed = cell
    return Trial(
        workload=ForeignWorkload(
            workload,
            train=f"runs:{name}",
            options={"is": workload},
            declared_metric=fields.metric_spec,
            is_shared=is_shared,
        ),
        candidate=Candidate(candidate, candidate, {}),
        phase="compare",
        block=block,
        seeds={"seed": int(seed)} if seed.isascii() and seed.isdecimal() else {},
    )


def _outcome(one: MeasuredRun, trial: Trial) -> Outcome:
    run, metric, start = one.run, trial.workload.metric_spec.metric, one.run.started_ms or 0
    points = tuple(
        Point(at.step, None, None, (at.time_ms - start) / 1000, at.time_ms, {metric: at.value})
        for at in run.curve
    )
    return Outcome(  # its seconds are not of training alone, so it has none
        trial,
        state=one.state,
        attempts=1,
        curve=points,
        metrics=dict(run.latest) if one.state in ("completed", "diverged") else {},
        error=one.error or None,
        started_ms=start,
        ended_ms=run.ended_ms,
        started={"run": run.id},
        job={"host": "elsewhere"},
    )


def _count_runs(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{quantity(len(names), 'run')} ({', '.join(names[:_NAMED])}{more})"
