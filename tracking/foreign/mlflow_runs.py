"""The runs of an MLflow experiment, read from its store; writes nothing."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tracking.foreign.run import CurveValue, ForeignRun
from tracking.history import State
from tracking.mlflow_store.store import Store, StoreError, first_line, search_runs

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

_STATES: Mapping[str, State] = {
    "FINISHED": "completed",
    "FAILED": "failed",
    "KILLED": "failed",
    "RUNNING": "running",
    "SCHEDULED": "running",
}


def read_mlflow(store: Store, experiment: str, metric: str, only: str = "") -> list[ForeignRun]:
    """Return the runs of an experiment with their curves of `metric`; `only` is MLflow's filter.

    Raises StoreError for an experiment that is not there and a store that cannot be read.
    """
    try:
        known = store.client.get_experiment_by_name(experiment)
        if known is None:
            names = sorted(one.name for one in store.client.search_experiments())
            raise StoreError(f"no experiment {experiment!r} at {store.uri}: {', '.join(names)}")
        runs = search_runs(store.client, known.experiment_id, only)
        return [_read(run, _history(store, run, metric)) for run in runs]
    except StoreError:
        raise
    except Exception as error:  # a foreign library: its ways to fail cannot be listed
        reason = first_line(error, store.uri)
        raise StoreError(f"cannot read MLflow at {store.uri}: {reason}") from error


def _history(store: Store, run: "Run", metric: str) -> Sequence["Metric"]:
    if metric not in run.data.metrics:
        return []
    return store.client.get_metric_history(run.info.run_id, metric)


def _read(run: "Run", history: Sequence["Metric"]) -> ForeignRun:
    first: dict[int, Metric] = {}
    for one in sorted(history, key=lambda one: (one.step, one.timestamp)):
        first.setdefault(one.step, one)
    fields = {f"params.{name}": value for name, value in run.data.params.items()}
    fields |= {f"tags.{name}": value for name, value in run.data.tags.items()}
    return ForeignRun(
        run.info.run_id,
        run.info.run_name or run.info.run_id,
        _STATES.get(run.info.status, "failed"),
        fields | {"attributes.run_name": run.info.run_name or ""},
        tuple(CurveValue(step, one.value, one.timestamp) for step, one in first.items()),
        {key: float(value) for key, value in run.data.metrics.items()},
        run.info.start_time,
        run.info.end_time,
    )
