"""A run as another tool has logged it: what every source gives, and all that pairing reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tracking.history import State


@dataclass(frozen=True)
class CurveValue:
    """One value of the metric that is compared; it may be NaN or infinite. Time in Unix ms."""

    step: int
    value: float
    time_ms: int


@dataclass(frozen=True)
class ForeignRun:
    """One run: its fields by full name (`params.lr`), its curve, its latest value of each metric.

    `id` and `name` are what its source calls it. The `curve` is of the metric that is compared, in
    the order of steps; of a step that was logged twice the first value counts. Values may be NaN
    or infinite. Times are Unix ms, None if unknown.
    """

    id: str
    name: str
    state: State
    fields: Mapping[str, str]
    curve: tuple[CurveValue, ...] = ()
    latest: Mapping[str, float] = field(default_factory=dict)
    started_ms: int | None = None
    ended_ms: int | None = None
