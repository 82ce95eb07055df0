"""TOML as tests write it, from a mapping of plain values."""

import json
from collections.abc import Mapping


def toml(keys: Mapping[str, object]) -> str:
    """Return a document of some keys; a mapping becomes an inline table."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in keys.items())


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)  # of text, numbers, truth and lists TOML thinks as JSON does
