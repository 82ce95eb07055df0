"""A study as plain rows: one for each trial, and one for each evaluation.

Numbers have the names that the report gives them; nothing is averaged. Knows no file format.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from jobs.contract.command_template import select_settings
from tracking.outcomes import Outcome
from tracking.report.provenance import data_rows

Row = Mapping[str, Any]

_OF_A_POINT = ("phase", "workload", "candidate", "block", "trial")


def trial_rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """Return one row for each trial of any state: the columns of data.csv, and its settings.

    Hyperparameters are `params.NAME`, final metrics, in the scale that they were logged in,
    `metrics.NAME`. Times are UTC.
    """
    return [
        {"phase": one.trial.phase} | row | _given(one)
        for row, one in zip(data_rows(outcomes), outcomes, strict=True)
    ]


def curve_rows(outcomes: Iterable[Outcome]) -> list[Row]:
    """Return one row for each evaluation, with a column for every metric, as it was logged.

    A metric that is named as another column, such as `step`, is `metrics.step`. Times are UTC.
    """
    rows: list[Row] = []
    for one in outcomes:
        trial = one.trial
        names = (trial.phase, trial.workload.name, trial.candidate.name, trial.block, trial.id)
        shared = dict(zip(_OF_A_POINT, names, strict=True))
        for point in one.curve:
            row = shared | {
                "step": point.step,
                "epoch": point.epoch,
                "samples": point.samples,
                "train_seconds": point.train_seconds,
                "time": _utc(point.time_ms),
            }
            metrics = {
                f"metrics.{name}" if name in row else name: value
                for name, value in point.metrics.items()
            }
            rows.append(row | metrics)
    return rows


def _given(one: Outcome) -> dict[str, Any]:
    trial = one.trial
    given: dict[str, Any] = {
        "optimizer": trial.candidate.optimizer,
        "precision": trial.precision,
        "world_size": trial.world_size,
        "threads": trial.threads,
        "started": None if one.started_ms is None else _utc(one.started_ms),
        "ended": None if one.ended_ms is None else _utc(one.ended_ms),
        "peak_memory_mb": one.peak_memory_mb,
        "weights": one.weights,
        "rung": one.rung,
    }
    hyperparameters = select_settings(trial.workload, trial.candidate)
    given |= {f"params.{name}": value for name, value in hyperparameters.items()}
    return given | {f"metrics.{name}": value for name, value in one.metrics.items()}


def _utc(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)
