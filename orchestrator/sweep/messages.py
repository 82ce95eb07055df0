"""The strict base of all keys, and the sentence that a user gets for a mistake in them.

Durations are read here, too: 90s, 15min, 2h, 1d.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from jobs.contract.close_names import find_other_name
from orchestrator.sweep.document import Invalid, Location, choices

MOST_RANKS = 65_536  # of one trial; none has as many
Ranks = Annotated[int, Field(ge=1, le=MOST_RANKS)]
Number = Annotated[float, Field(allow_inf_nan=False, strict=False)]

_UNITS_S = {"s": 1, "min": 60, "h": 3600, "d": 86400}

_Model = TypeVar("_Model", bound=BaseModel)


class Strict(BaseModel):
    """A part of a sweep file: unknown keys are errors and nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def find_place(cls, key: str) -> str | None:  # noqa: ARG003 - the parts that know one use it
        """Say to which part of a sweep file a key belongs that this one lacks; None if to none."""
        return None


def check_printable(name: str) -> str:
    """Return the name as it is; raises ValueError if it cannot be printed."""
    if not name.strip() or not name.isprintable():
        raise ValueError(f"{name!r} is no name: use printable characters")
    return name


def check(
    model: type[_Model],
    data: Mapping[str, Any],
    origin: Callable[[Location], Location] = lambda location: location,
) -> _Model:
    """Validate `data`; raises Invalid for the first mistake, unknown keys before others.

    `origin` maps a location in `data` to the one in the file, if the two differ.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        mistakes = error.errors()
    first = next((m for m in mistakes if m["type"] == "extra_forbidden"), mistakes[0])
    location: Location = tuple(first["loc"])
    raise Invalid(origin(location), _sentence(first, _model_at(model, location)))


def _sentence(mistake: Any, model: type[BaseModel]) -> str:
    value, kind = mistake["input"], mistake["type"]
    key = str(mistake["loc"][-1]) if mistake["loc"] else ""
    if kind == "extra_forbidden":
        place = None
        if issubclass(model, Strict) and not find_other_name(key, model.model_fields):
            place = model.find_place(key)
        return f"unknown key {key!r}: {place or choices(key, model.model_fields)}"
    if kind == "missing":
        return "the key is missing"
    if kind == "value_error":
        return str(mistake["ctx"]["error"])
    if kind == "literal_error":
        names = re.findall(r"'([^']*)'", mistake["ctx"]["expected"])
        return f"{value!r} is unknown: {choices(value, names)}"
    words = str(mistake["msg"]).replace("valid tuple", "valid list")  # files have lists alone
    expected = words.removeprefix("Input should be ")
    return f"{value!r}: {words}" if words == expected else f"{value!r} is not {expected}"


def _model_at(model: type[BaseModel], location: Location) -> type[BaseModel]:
    """Return the model whose fields are the choices at `location`."""
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        if field is not None:
            model = next(_models_in(field.annotation), model)
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation holds, such as those of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def parse_duration(value: Any) -> float:
    """Return the seconds of a duration; raises ValueError for anything else."""
    parts = re.fullmatch(r"([0-9]+(?:[.][0-9]+)?) ?(s|min|h|d)", str(value))
    if parts is None:
        raise ValueError(f"{value!r} is no duration: write a number and s, min, h or d: 15min")
    return float(parts[1]) * _UNITS_S[parts[2]]


Duration = Annotated[float, PlainValidator(parse_duration, json_schema_input_type=str)]
