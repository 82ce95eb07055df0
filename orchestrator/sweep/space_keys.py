"""The keys of a search's space: ranges by hyperparameter, and by argument below `args`.

What they mean for a candidate is `orchestrator.sweep.tune_spaces`'.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.sweep.document import Location
from orchestrator.sweep.messages import Number, Strict


class RangeKeys(Strict):
    """What one hyperparameter is chosen from: `log` or `uniform` [low, high], or a `choice`."""

    log: Annotated[tuple[Number, Number], Field(strict=False)] | None = None
    uniform: Annotated[tuple[Number, Number], Field(strict=False)] | None = None
    choice: list[Any] | None = None

    @model_validator(mode="after")
    def _check_one_range(self) -> Self:
        given = [name for name in ("log", "uniform", "choice") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"{len(given)} of log, uniform, choice: write one, such as {{log: [1e-4, 1e-2]}}"
            )
        return self


ARGS = "args."  # before the name of an argument among the names of a space


def _flatten_args(value: Any) -> Any:
    """Return the ranges of a candidate with those below `args` beside the others: `args.bs`."""
    if not isinstance(value, Mapping) or not isinstance(value.get("args"), Mapping):
        return value
    ranges = dict(value)
    return ranges | {f"{ARGS}{name}": range_ for name, range_ in ranges.pop("args").items()}


def find_written_args(location: Location) -> Location:
    """Return the place in the file of what `_flatten_args` has moved: below `args` of a space."""
    if location[:2] != ("tune", "space"):
        return location
    parts = (str(part) for part in location)
    return tuple(
        step
        for part in parts
        for step in (("args", part.removeprefix(ARGS)) if part.startswith(ARGS) else (part,))
    )


SpaceOfOne = Annotated[
    dict[str, RangeKeys],
    BeforeValidator(
        _flatten_args, json_schema_input_type=dict[str, RangeKeys | dict[str, RangeKeys]]
    ),
]
