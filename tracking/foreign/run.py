"""Runs as another tool has logged them: what is asked of a source, and all that it gives."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from thermolion.errors import InputError
from tracking.history import State

_LISTED = 20  # names that a message lists


class RunSourceError(InputError):
    """A source of runs that has not what was asked for, or cannot be read as was said."""


@dataclass(frozen=True)
class RunQuery:
    """What is read of every run: its metrics and fields, by the names that its source has.

    The curve is of the first of `metrics`; of the others the latest value counts. `fields` are
    those that name candidate, seed and workload: a source gives others as well, if it has them.
    """

    metrics: tuple[str, ...]
    fields: tuple[str, ...]
    only: str = ""  # which runs, in the language of the source; all if it is empty

    @property
    def curve_metric(self) -> str:
        """Return the metric whose curve is read."""
        return self.metrics[0]


@dataclass(frozen=True, slots=True)
class CurveValue:
    """One value of the metric that is compared; it may be NaN or infinite. Time in Unix ms."""

    step: int
    value: float
    time_ms: int


@dataclass(frozen=True)
class ForeignRun:
    """One run: its fields by full name (`params.lr`), its curve, its latest values.

    `id` and `name` are what its source calls it. The `curve` is of the metric that is compared, in
    the order of steps; of a step that was logged twice the first value counts. `latest` has the
    metrics that were asked for and that the run has logged. Values may be NaN or infinite. Times
    are Unix ms, None if unknown.
    """

    id: str
    name: str
    state: State
    fields: Mapping[str, str]
    curve: tuple[CurveValue, ...] = ()
    latest: Mapping[str, float] = field(default_factory=dict)
    started_ms: int | None = None
    ended_ms: int | None = None


@dataclass(frozen=True)
class ForeignRuns:
    """The runs of a source, and in words what of it they are not, or not quite.

    `label` names the source in a sentence: "the MLflow experiment 'nlp'".
    """

    label: str
    runs: tuple[ForeignRun, ...]
    notes: tuple[str, ...] = ()


def first_values(values: Iterable[CurveValue]) -> tuple[CurveValue, ...]:
    """Return a curve in the order of steps, of each step the value that was logged first."""
    curve: dict[int, CurveValue] = {}
    for one in sorted(values, key=lambda one: (one.step, one.time_ms)):
        curve.setdefault(one.step, one)
    return tuple(curve.values())


def require_metrics(
    label: str, wanted: Sequence[str], runs: Iterable[ForeignRun], known: Iterable[str]
) -> None:
    """Raise RunSourceError for a metric that no run has logged; `known` are those to choose."""
    logged = {name for run in runs for name in run.latest}
    for metric in wanted:
        if metric not in logged:
            choices = sorted(known)
            raise RunSourceError(
                f"no run of {label} has logged the metric {metric!r}"
                f"{suggest(metric, choices)}: there are {list_names(choices) or 'none at all'}"
            )


def suggest(name: str, choices: Sequence[str]) -> str:
    """Return `, did you mean 'x'` for a name that is nearly one of the choices, else nothing."""
    by_lower = {one.lower(): one for one in reversed(choices)}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f", did you mean {by_lower[near[0]]!r}" if near else ""


def list_names(names: Sequence[str]) -> str:
    """Return names in a row, and how many more there are."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
