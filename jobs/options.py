"""Names and options as a sweep writes them, against what there is. Standard library only."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from thermolion.errors import InputError


class DataError(InputError, ValueError):
    """Data or a name that cannot be used, with what to do about it."""


class Optioned(Protocol):
    """Something with options: `options` hold every default, `later` names the options that are
    younger than id version 1.
    """

    @property
    def options(self) -> Mapping[str, Any]: ...

    @property
    def later(self) -> frozenset[str]: ...


def known(name: str, choices: Iterable[str], what: str) -> None:
    """Raise DataError, with the choices and the nearest one, unless `name` is among them."""
    choices = list(choices)
    if name not in choices:
        near = difflib.get_close_matches(name, choices, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise DataError(f"unknown {what} {name!r}{hint}: choose from {', '.join(choices)}")


def filled(spec: Optioned, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `given` over the defaults of `spec`; raises DataError for an option it lacks.

    An option younger than id version 1 stays out while it holds its default: otherwise every
    trial that was recorded before it would lose its name.
    """
    for key in given:
        if not spec.options:
            raise DataError(f"{name} takes no options, {key!r} was given")
        known(key, spec.options, f"option of {name}")
    typed = {key: _typed(name, key, value, spec.options[key]) for key, value in given.items()}
    whole = dict(spec.options) | typed
    return {
        key: value
        for key, value in whole.items()
        if key not in spec.later or value != spec.options[key]
    }


def _typed(name: str, key: str, value: Any, default: Any) -> Any:
    """Return `value` in the type of `default`, so that 1 and 1.0 name one trial.

    Options are counts, fractions, or lists of counts; a seed may be 0.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(default, float) and number and 0 <= value <= 1:
        return float(value) + 0.0  # -0.0 becomes 0.0
    least = 0 if key == "seed" else 1
    counts = value if isinstance(value, list) else [value]
    fits = type(value) is type(default) and not isinstance(default, float) and bool(counts)
    if not fits or not all(type(count) is int and least <= count <= 2**31 for count in counts):
        raise DataError(
            f"option {key} of {name} is {value!r}, it must be {_KINDS[type(default)]}, such as "
            f"{default!r}"
        )
    return value


_KINDS = {
    int: "a whole number (from 1; a seed from 0)",
    float: "a number from 0 to 1",
    list: "a list of whole numbers from 1",
}
