"""The endpoints that a sweep declares: two words for the usual ones, keys for any logged metric.

Resolved against the workloads, so that what is frozen says in full how each is read.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    model_serializer,
    model_validator,
)

from jobs.contract.workloads.workload import ImageWorkload, MetricSpec, Workload
from orchestrator.sweep.document import Invalid, Location, choices
from orchestrator.sweep.messages import Number, Strict, check_printable
from tracking.metric import Scale
from tracking.questions.endpoint import Endpoint

Margin = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=False)]
NamedEndpoint = Literal["final_test_accuracy", "val_auc", "steps_to_target", "seconds_to_target"]

# What an image classifier logs: on its curve, by what the curve is of, and at the end.
_CURVES: Mapping[bool, tuple[str, ...]] = {
    True: ("val_accuracy", "val_loss", "train_loss"),
    False: ("train_accuracy", "train_set_loss", "train_loss"),
}
_AT_THE_END = ("test_accuracy", "test_loss")


class EndpointKeys(Strict):
    """A number of a trial that questions are asked about: of any metric that it logs.

    `measure` is the last value of the `metric` (final), the mean height of its curve (auc), or the
    time at which the curve is first at the `target` (time_to_target, if there is one). Without a
    `metric` it is the workload's own. `goal` says what is better; `unit`, `chance` and `target`
    are as in a workload. `clock` is what a curve goes over. Differences within the `margin` are of
    no interest: in the unit of the metric (percentage points of a fraction), of a time a factor
    above 1. `one_sided` asks if the candidate is better, and never says that it is worse.
    """

    metric: Annotated[str, AfterValidator(check_printable)] | None = None
    measure: Literal["final", "auc", "time_to_target"] | None = None
    goal: Literal["max", "min"] | None = None
    unit: Literal["fraction", "percent", "plain"] | None = None
    chance: Number | None = None
    target: Number | None = None
    clock: Literal["steps", "seconds"] = "steps"
    margin: Margin | None = None
    one_sided: bool = False

    @property
    def kind(self) -> Literal["final", "auc", "time_to_target"]:
        """What is measured, by the keys that are given."""
        if self.measure is None:
            return "final" if self.target is None else "time_to_target"
        return self.measure

    @model_serializer
    def _write(self) -> str | dict[str, Any]:
        """Write it as short as a sweep file may: the JSON schema has it as a default."""
        given = {key: getattr(self, key) for key in self.model_fields_set}
        return next((word for word, keys in _WORDS.items() if keys == given), given)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.metric is None and self.measure is None and self.target is None:
            raise ValueError(
                "nothing is measured: write {metric: test_loss, goal: min}, or a `measure`"
            )
        if self.kind == "final" and self.clock == "seconds":
            raise ValueError(
                "a last value has no clock: write `measure: auc` or `measure: time_to_target` "
                "beside `clock: seconds`"
            )
        if self.kind != "time_to_target" and self.target is not None:
            raise ValueError(f"measure is {self.kind}, which has no target: leave one of them out")
        if self.metric is None:
            given = [key for key in ("goal", "unit", "chance") if getattr(self, key) is not None]
            if given:
                raise ValueError(f"{given[0]} is of a metric: name the `metric` as well")
        if self.kind == "time_to_target" and self.margin is not None and self.margin <= 1:
            raise ValueError(
                f"margin is {self.margin:g}: that of a time is a factor above 1, such as 1.05"
            )
        return self


_WORDS: Mapping[str, Mapping[str, Any]] = {
    "final_test_accuracy": {"measure": "final"},
    "val_auc": {"measure": "auc"},
    "steps_to_target": {"measure": "time_to_target"},
    "seconds_to_target": {"measure": "time_to_target", "clock": "seconds"},
}


def _read_word(value: Any) -> Any:
    if isinstance(value, str):
        if value not in _WORDS:
            raise ValueError(
                f"{value!r} is no endpoint: {choices(value, _WORDS)}, or any metric that trials "
                f"log: {{metric: {value}, goal: max}}"
            )
        return _WORDS[value]
    return value


AnyEndpoint = Annotated[
    EndpointKeys, BeforeValidator(_read_word, json_schema_input_type=NamedEndpoint | EndpointKeys)
]
USUAL = (EndpointKeys(measure="final"), EndpointKeys(measure="auc"))


class DeclaredEndpoints(NamedTuple):
    """The endpoints in order, and by their names the margins that they have of their own."""

    endpoints: tuple[Endpoint, ...]
    margins: Mapping[str, float]


def resolve_endpoints(
    declared: Sequence[EndpointKeys],
    margins: Mapping[NamedEndpoint, float],
    workloads: Sequence[Workload],
    has_pilots: bool,
) -> DeclaredEndpoints:
    """Return the endpoints of `workloads` in full, and all margins by their names.

    `has_pilots`: every workload will have a target. Raises Invalid for the first mistake.
    """
    found: dict[str, Endpoint] = {}
    own: dict[str, float] = {}
    for place, keys in enumerate(declared):
        at = ("analysis", "endpoints", place)
        endpoint = _resolve(keys, workloads, at)
        _check_target(endpoint, workloads, has_pilots, at)
        _check_chance(endpoint, workloads, at)
        twin = found.setdefault(endpoint.name, endpoint)
        if twin != endpoint:
            raise Invalid(at, f"{endpoint.name} is declared twice, and not alike: keep one")
        if keys.margin is not None:
            _check_one_unit(endpoint, keys.margin, workloads, (*at, "margin"))
            own[endpoint.name] = keys.margin
    for word, margin in margins.items():
        endpoint = _resolve(EndpointKeys(**_WORDS[word]), workloads, ("analysis", "margins", word))
        _check_one_unit(endpoint, margin, workloads, ("analysis", "margins", word))
        if own.setdefault(endpoint.name, margin) != margin:
            raise Invalid(
                ("analysis", "margins", word),
                f"{margin:g} here and {own[endpoint.name]:g} in `endpoints`: keep one of the two",
            )
        if endpoint.measure == "time_to_target" and margin <= 1:
            raise Invalid(
                ("analysis", "margins", word),
                f"{margin:g}: the margin of a time is a factor above 1, such as 1.05",
            )
    return DeclaredEndpoints(tuple(found.values()), own)


def _resolve(keys: EndpointKeys, workloads: Sequence[Workload], at: Location) -> Endpoint:
    """Return an endpoint with the goal and unit of its metric, as written or as workloads say."""
    metric, kind = keys.metric, keys.kind
    usual = Endpoint(kind, target=keys.target, clock=keys.clock, one_sided=keys.one_sided)
    if metric is None:
        return usual
    for one in workloads:
        _check_logged(metric, kind, one, at)
    known = [read_known(metric, one) for one in workloads]
    goals = {one.goal for one in known if one is not None}
    units = {one.unit for one in known if one is not None}
    if keys.goal is None and (len(goals) != 1 or None in known):
        raise Invalid(
            at, f"what is better, more or less of {metric}? Write goal: max or goal: min beside it"
        )
    if keys.unit is None and len(units) > 1:
        raise Invalid(at, f"{metric} has another unit on other workloads: write its unit")
    goal = keys.goal or goals.pop()
    unit = keys.unit or (units.pop() if units else "plain")
    is_own = all(
        metric == (one.metric_spec.final_metric or one.metric_spec.metric)
        if kind == "final"
        else metric == one.metric_spec.metric
        for one in workloads
    )
    as_declared = all(one is not None and (one.goal, one.unit) == (goal, unit) for one in known)
    if is_own and as_declared and keys.chance is None:
        return usual
    return Endpoint(kind, metric, goal, unit, keys.chance, keys.target, keys.clock, keys.one_sided)


def read_known(metric: str, workload: Workload) -> MetricSpec | None:
    """Return how a metric is read if a workload says it, or we log it ourselves; else None."""
    own = workload.metric_spec
    if metric in (own.metric, own.final_metric):
        return own
    if not isinstance(workload, ImageWorkload):
        return None
    if metric.endswith("_accuracy"):
        return MetricSpec(metric, goal="max", unit="fraction")
    return MetricSpec(metric, goal="min", unit="plain")


def _check_logged(metric: str, kind: str, workload: Workload, at: Location) -> None:
    """Raise Invalid for a metric that an image workload does not log."""
    if not isinstance(workload, ImageWorkload):
        return
    curve = _CURVES[workload.holds_out]
    names = (*_AT_THE_END, *curve) if kind == "final" else curve
    if metric not in names:
        where = "at its end" if kind == "final" else "on its curve"
        raise Invalid(
            (*at, "metric"),
            f"{workload.name} logs no {metric!r} {where}: {choices(metric, names)}",
        )


def _check_target(
    endpoint: Endpoint, workloads: Sequence[Workload], has_pilots: bool, at: Location
) -> None:
    """Raise Invalid for a time to a target that a workload does not have, or cannot have."""
    if endpoint.measure != "time_to_target":
        return
    for one in workloads:
        spec = endpoint.read(one)
        if spec.target is None:
            if has_pilots and endpoint.metric is None:
                continue
            raise Invalid(
                at,
                f"{one.name} has no target to be timed to: write `target:` beside this measure "
                "or in the workload, or let pilots find one (`pilot: {seeds: 10}`)",
            )
        if wrong := Scale.of(spec).complaint(spec.target):
            raise Invalid((*at, "target"), f"{spec.target:g} of {spec.metric}: {wrong}")


def _check_chance(endpoint: Endpoint, workloads: Sequence[Workload], at: Location) -> None:
    """Raise Invalid for what a diverged trial counts as, if no trial can have it."""
    if endpoint.chance is None:
        return
    for one in workloads:
        if wrong := Scale.of(endpoint.read(one)).complaint(endpoint.chance):
            raise Invalid((*at, "chance"), f"{endpoint.chance:g}: {wrong}")


def _check_one_unit(
    endpoint: Endpoint, margin: float, workloads: Sequence[Workload], at: Location
) -> None:
    """Raise Invalid for a margin that would stand for two units."""
    if endpoint.measure == "time_to_target":
        return
    units: dict[str, str] = {}  # the first workload of each unit
    for one in workloads:
        spec = endpoint.read(one)
        metric = spec.metric if endpoint.measure == "auc" else spec.final_metric or spec.metric
        units.setdefault(Scale.of(spec).unit(metric), one.name)
    if len(units) > 1:
        listed = ", ".join(f"{unit} on {name}" for unit, name in units.items())
        raise Invalid(
            at,
            f"{margin:g} is one number in one unit, and workloads have "
            f"several ({listed}): leave it out, or give the workloads a study for each unit",
        )
