"""Runs of other tools as outcomes, paired by their seeds, to be compared like trials of ours.

Only what such runs logged is known: whether the runs of a block share their split, initial
weights and order of data is not.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jobs.contract.trial import Candidate, Trial
from jobs.contract.workloads.workload import MetricSpec, UserWorkload
from tracking.foreign.run import ForeignRun
from tracking.logs import Point
from tracking.mlflow_store.store import StoreError
from tracking.outcomes import Outcome
from tracking.report.wording import quantity

_KINDS = ("params", "tags", "attributes")
_NAMED = 3  # runs that a message names before it counts


@dataclass(frozen=True)
class RunFields:
    """Which field of a run, such as "params.optimizer", names its candidate, seed and workload.

    Without a field for the workload, the experiment is the workload.
    """

    candidate: str
    seed: str
    workload: str | None
    metric_spec: MetricSpec


@dataclass(frozen=True)
class PairedRuns:
    """Outcomes by the order of candidates and seeds, and in words what was left out."""

    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]


def check_fields(fields: RunFields) -> None:
    """Raise StoreError for what names no field of a run."""
    for field in (fields.candidate, fields.seed, fields.workload):
        if field is not None and field.partition(".")[0] not in _KINDS:
            raise StoreError(
                f"{field!r} is no field of a run: write params.NAME, tags.NAME or attributes.NAME"
            )


def pair_runs(runs: Sequence[ForeignRun], experiment: str, fields: RunFields) -> PairedRuns:
    """Return runs as outcomes.

    A failed run is dropped if the same cell has a finished one. Raises StoreError for fields that
    no run has, and two finished runs of one cell.
    """
    cells, notes = _cells(runs, experiment, fields)
    seeds = _blocks({seed for _, _, seed in cells})
    outcomes = [
        _outcome(run, _trial(cell, seeds[cell[2]], experiment, fields))
        for cell, run in cells.items()
    ]
    notes.append(
        f"These are runs of another tool, paired by {fields.seed} alone: whether the runs "
        "of a block share their split, initial weights and order of data is not known here."
    )
    ordered = sorted(outcomes, key=lambda one: (one.trial.workload.name, one.trial.block))
    return PairedRuns(tuple(ordered), tuple(notes))


_Cell = tuple[str, str, str]  # workload, candidate, seed: as the runs spell them


def _cells(
    runs: Sequence[ForeignRun], experiment: str, fields: RunFields
) -> tuple[dict[_Cell, ForeignRun], list[str]]:
    cells: dict[_Cell, ForeignRun] = {}
    lacking: dict[str, list[str]] = {}
    names = (fields.workload, fields.candidate, fields.seed)
    for run in runs:
        values = {None: experiment} | dict(run.fields)
        missing = [name for name in names if name is not None and name not in values]
        if missing:
            lacking.setdefault(", ".join(missing), []).append(run.name)
            continue
        cell = (values[fields.workload], values[fields.candidate], values[fields.seed])
        cells[cell] = _better(cells.get(cell), run, cell)
    if not cells:
        raise StoreError(
            f"no run of {experiment!r} has {fields.candidate} and {fields.seed}: its runs have "
            f"{', '.join(sorted({name for run in runs for name in run.fields})) or 'nothing'}"
        )
    return cells, [
        f"{_count_runs(named)} without {what}: left out." for what, named in lacking.items()
    ]


def _better(known: ForeignRun | None, run: ForeignRun, cell: _Cell) -> ForeignRun:
    if known is None:
        return run
    ended = [one for one in (known, run) if one.state == "completed"]
    if len(ended) == 2:
        raise StoreError(
            f"{cell[1]} on {cell[0]}, seed {cell[2]} has two finished runs, "
            f"{known.id} and {run.id}: delete one, leave one out with "
            "--filter, or name a --workload that tells them apart"
        )
    return ended[0] if ended else run


def _blocks(seeds: Iterable[str]) -> dict[str, int]:
    """Number the blocks as the seeds if these are whole numbers, else in their order."""
    listed = list(seeds)
    if all(seed.isdecimal() for seed in listed) and len(set(map(int, listed))) == len(listed):
        return {seed: int(seed) for seed in listed}
    return {seed: number for number, seed in enumerate(sorted(listed))}


def _trial(cell: _Cell, block: int, experiment: str, fields: RunFields) -> Trial:
    workload, candidate, seed = cell
    return Trial(
        workload=UserWorkload(
            workload,
            train=f"mlflow:{experiment}",
            options={"is": workload},
            declared_metric=fields.metric_spec,
        ),
        candidate=Candidate(candidate, candidate, {}),
        phase="compare",
        block=block,
        seeds={"seed": int(seed)} if seed.isdecimal() else {},
    )


def _outcome(run: ForeignRun, trial: Trial) -> Outcome:
    spec = trial.workload.metric_spec
    metric, start = spec.metric, run.started_ms or 0
    points = tuple(
        Point(one.step, None, None, (one.time_ms - start) / 1000, one.time_ms, {metric: one.value})
        for one in run.curve
    )
    state, error = run.state, ""
    compared = sorted({metric, spec.final_metric or metric} & run.latest.keys())
    if state == "failed":
        error = f"run {run.id} failed"
    elif state == "completed" and not all(math.isfinite(run.latest[key]) for key in compared):
        state, error = "diverged", f"{' or '.join(compared)} is not finite"
    return Outcome(  # its seconds are not of training alone, so it has none
        trial,
        state=state,
        attempts=1,
        curve=points,
        metrics=dict(run.latest) if state in ("completed", "diverged") else {},
        error=error or None,
        started_ms=start,
        ended_ms=run.ended_ms,
        started={"run": run.id},
        job={"host": "elsewhere"},
    )


def _count_runs(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{quantity(len(names), 'run')} ({', '.join(names[:_NAMED])}{more})"
