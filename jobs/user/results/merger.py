"""Points that were read, put together: one value for each metric and step, from whatever source.

Reads nothing: `jobs.user.results.reader` does.
"""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.worker.context import Context
from thermolion.errors import OperationError

_SAME = 1e-6  # relative: one number in single and in double precision


class ResultsError(OperationError):
    """Results that cannot be read as the sweep says; `kind` is the name that failures have."""

    kind = "UnreadResults"


@dataclass(frozen=True)
class ReadPoint:
    """Metrics at a `step`, or final ones if that is None, and their `origin`: file and line.

    `seconds` is the training time at which they were there; None for now. The points of a source
    may be several `series`, each in the order of its steps.
    """

    step: int | None
    metrics: Mapping[str, float]
    origin: str
    seconds: float | None = None
    series: Hashable = None


@dataclass(frozen=True)
class _Value:
    number: float
    origin: str
    source: Hashable


@dataclass
class _Open:
    """The newest step of a source: it may still get other values, of which the last counts."""

    step: int
    values: dict[str, _Value] = field(default_factory=dict)
    seconds: float | None = None


class PointMerger:
    """Logs the points of all sources of one trial; `final` are its final metrics.

    The last value that a series has for a step counts, so that a step is logged once its series
    goes on to the next; a value that ends the trial as diverged is logged at once. `error` is the
    first contradiction in the metrics that the trial is read by; of other metrics the first value
    counts.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        spec, self._limit = context.trial.workload.metric_spec, context.trial.workload.diverged
        limited = () if self._limit is None else (self._limit.metric,)
        self._curve = {spec.metric, *limited}
        self._read = {*self._curve, spec.final_metric or spec.metric}
        self._open: dict[Hashable, _Open] = {}
        self._settled: dict[tuple[str, int | None], _Value] = {}
        self.error: ResultsError | None = None

    @property
    def final(self) -> dict[str, float]:
        """The final metrics."""
        return {name: found.number for (name, at), found in self._settled.items() if at is None}

    @property
    def metrics(self) -> frozenset[str]:
        """All metrics that were read."""
        waiting = (name for group in self._open.values() for name in group.values)
        return frozenset([*(name for name, _ in self._settled), *waiting])

    def add(self, source: Hashable, point: ReadPoint) -> None:
        """Take a point of a source; raises Diverged for one that ends the trial."""
        if not point.metrics:
            return
        values = {
            name: _Value(number, point.origin, source) for name, number in point.metrics.items()
        }
        if point.step is None:
            self._settle_final(values)
            return
        series = (source, point.series)
        group = self._open.get(series)
        if group is None or group.step != point.step:
            self._close(series)
            group = self._open.setdefault(series, _Open(point.step))
        group.values |= values
        group.seconds = self._context.clock() if point.seconds is None else point.seconds
        if any(self._ends_trial(name, value) for name, value in point.metrics.items()):
            self._close(series)

    def close_all(self) -> None:
        """Log the newest step of every series: no other value of it will come."""
        for series in list(self._open):
            self._close(series)

    def _close(self, series: Hashable) -> None:
        group = self._open.pop(series, None)
        if group is not None:
            new = self._settle(group.step, group.values)
            if new:
                self._context.log_values(group.step, new, group.seconds)

    def _settle(self, step: int, values: Mapping[str, _Value]) -> dict[str, float]:
        """Return the values that are new at a step; those that contradict others are an error."""
        new = {}
        for name, value in values.items():
            first = self._settled.setdefault((name, step), value)
            if first is value:
                new[name] = value.number
            else:
                self._check_same(name, f"at step {step}", first, value)
        return new

    def _settle_final(self, values: Mapping[str, _Value]) -> None:
        """Take final values, of which the last one of a source counts."""
        for name, value in values.items():
            first = self._settled.get((name, None))
            if first is None or first.source == value.source:
                self._settled[name, None] = value
            else:
                self._check_same(name, "at the end", first, value)

    def _check_same(self, name: str, when: str, first: _Value, second: _Value) -> None:
        if name not in self._read or self.error is not None:
            return
        both_nan = math.isnan(first.number) and math.isnan(second.number)
        if both_nan or math.isclose(first.number, second.number, rel_tol=_SAME):
            return
        what = "use one source of it" if first.source != second.source else "let steps go on"
        self.error = ResultsError(
            f"two values of {name} {when}: {first.number:.9g} in {first.origin}, and "
            f"{second.number:.9g} in {second.origin}: {what}, by `results` in the sweep"
        )

    def _ends_trial(self, name: str, value: float) -> bool:
        if name not in self._curve:
            return False
        limit = self._limit
        past: Any = limit is not None and limit.metric == name and limit.complaint(value)
        return not math.isfinite(value) or bool(past)
