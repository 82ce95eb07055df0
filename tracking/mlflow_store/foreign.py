"""The runs of any MLflow experiment as outcomes, to be compared like trials of ours.

Only what such runs logged is known: whether the runs of a block share their split, initial
weights and order of data is not. Reads a store; writes nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.contract.trial import Candidate, MetricSpec, Trial, UserWorkload
from tracking.history import State
from tracking.logs import Point
from tracking.mlflow_store.store import Store, StoreError, first_line, search_runs
from tracking.outcomes import Outcome
from tracking.report.wording import quantity

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

_KINDS = ("params", "tags", "attributes")
_NAMED = 3  # runs that a message names before it counts

_STATES: Mapping[str, State] = {
    "FINISHED": "completed",
    "FAILED": "failed",
    "KILLED": "failed",
    "RUNNING": "running",
    "SCHEDULED": "running",
}


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
class ForeignRuns:
    """Outcomes by the order of candidates and seeds, and in words what was left out."""

    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]


def read_runs(store: Store, experiment: str, fields: RunFields, only: str = "") -> ForeignRuns:
    """Return the runs of an experiment as outcomes; `only` is an MLflow filter of runs.

    A failed run is dropped if the same cell has a finished one. Raises StoreError for an
    experiment that is not there, fields that no run has, and two finished runs of one cell.
    """
    for field in (fields.candidate, fields.seed, fields.workload):
        if field is not None and field.partition(".")[0] not in _KINDS:
            raise StoreError(
                f"{field!r} is no field of a run: write params.NAME, tags.NAME or attributes.NAME"
            )
    try:
        runs = _runs(store, experiment, only)
        cells, notes = _cells(runs, experiment, fields)
        seeds = _blocks({seed for _, _, seed in cells})
        outcomes = [
            _outcome(
                run, _trial(cell, seeds[cell[2]], experiment, fields), _curve(store, run, fields)
            )
            for cell, run in cells.items()
        ]
    except StoreError:
        raise
    except Exception as error:  # a foreign library: its ways to fail cannot be listed
        reason = first_line(error, store.uri)
        raise StoreError(f"cannot read MLflow at {store.uri}: {reason}") from error
    notes.append(
        f"These are runs of an MLflow experiment, paired by {fields.seed} alone: whether the runs "
        "of a block share their split, initial weights and order of data is not known here."
    )
    ordered = sorted(outcomes, key=lambda one: (one.trial.workload.name, one.trial.block))
    return ForeignRuns(tuple(ordered), tuple(notes))


def _runs(store: Store, experiment: str, only: str) -> list["Run"]:
    known = store.client.get_experiment_by_name(experiment)
    if known is None:
        names = sorted(one.name for one in store.client.search_experiments())
        raise StoreError(f"no experiment {experiment!r} at {store.uri}: {', '.join(names)}")
    return list(search_runs(store.client, known.experiment_id, only))


_Cell = tuple[str, str, str]  # workload, candidate, seed: as the runs spell them


def _cells(
    runs: Sequence["Run"], experiment: str, fields: RunFields
) -> tuple[dict[_Cell, "Run"], list[str]]:
    cells: dict[_Cell, Run] = {}
    lacking: dict[str, list[str]] = {}
    names = (fields.workload, fields.candidate, fields.seed)
    for run in runs:
        values = {None: experiment} | _fields_of(run)
        missing = [name for name in names if name is not None and name not in values]
        if missing:
            lacking.setdefault(", ".join(missing), []).append(run.info.run_name or run.info.run_id)
            continue
        cell = (values[fields.workload], values[fields.candidate], values[fields.seed])
        cells[cell] = _better(cells.get(cell), run, cell)
    if not cells:
        raise StoreError(
            f"no run of {experiment!r} has {fields.candidate} and {fields.seed}: its runs have "
            f"{', '.join(sorted({name for run in runs for name in _fields_of(run)})) or 'nothing'}"
        )
    return cells, [
        f"{_count_runs(runs)} without {what}: left out." for what, runs in lacking.items()
    ]


def _better(known: "Run | None", run: "Run", cell: _Cell) -> "Run":
    if known is None:
        return run
    ended = [one for one in (known, run) if _STATES.get(one.info.status) == "completed"]
    if len(ended) == 2:
        raise StoreError(
            f"{cell[1]} on {cell[0]}, seed {cell[2]} has two finished runs, "
            f"{known.info.run_id} and {run.info.run_id}: delete one, leave one out with "
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


def _curve(store: Store, run: "Run", fields: RunFields) -> list["Metric"]:
    if fields.metric_spec.metric not in run.data.metrics:
        return []
    return list(store.client.get_metric_history(run.info.run_id, fields.metric_spec.metric))


def _outcome(run: "Run", trial: Trial, history: Sequence["Metric"]) -> Outcome:
    spec = trial.workload.metric_spec
    metric = spec.metric
    first: dict[int, Metric] = {}
    for one in sorted(history, key=lambda one: (one.step, one.timestamp)):
        first.setdefault(one.step, one)
    start = run.info.start_time or 0
    points = tuple(
        Point(step, None, None, (one.timestamp - start) / 1000, one.timestamp, {metric: one.value})
        for step, one in first.items()
    )
    state, error = _STATES.get(run.info.status, "failed"), ""
    finals = {key: float(value) for key, value in run.data.metrics.items()}
    compared = sorted({metric, spec.final_metric or metric} & finals.keys())
    if state == "failed":
        error = f"run {run.info.run_id} {run.info.status}"
    elif state == "completed" and not all(math.isfinite(finals[key]) for key in compared):
        state, error = "diverged", f"{' or '.join(compared)} is not finite"
    return Outcome(  # its seconds are not of training alone, so it has none
        trial,
        state=state,
        attempts=1,
        curve=points,
        metrics=finals if state in ("completed", "diverged") else {},
        error=error or None,
        started_ms=start,
        ended_ms=run.info.end_time,
        started={"run": run.info.run_id},
        job={"host": "MLflow"},
    )


def _fields_of(run: "Run") -> dict[str, str]:
    fields = {f"params.{name}": value for name, value in run.data.params.items()}
    fields |= {f"tags.{name}": value for name, value in run.data.tags.items()}
    return fields | {"attributes.run_name": run.info.run_name or ""}


def _count_runs(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{quantity(len(names), 'run')} ({', '.join(names[:_NAMED])}{more})"
