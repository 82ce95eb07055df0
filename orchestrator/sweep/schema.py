"""What a sweep file and the command line may say, from what parses them.

The JSON schema of sweep files is for editors (`python -m orchestrator.sweep.schema`); the two
reference pages are Markdown, which `make docs` puts into the site.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from orchestrator.sweep.sweep import SweepFile
from orchestrator.sweep.workload_keys import ImageWorkloadKeys, UserWorkloadKeys

_NO_VALUE = (argparse._StoreTrueAction, argparse._HelpAction, argparse._VersionAction)
_ABOUT_SWEEPS = (
    "`defaults` holds keys of workloads for all of them. `workloads` is a list, or has "
    "`each: {KEY: [VALUES]}`, which crosses the lists. A list in the value of a hyperparameter "
    "makes a grid. `1e-3` is a number. Durations have a unit (`30s`, `10min`, `4h`, `1d`); the "
    "defaults are in seconds. `--set a.b=VALUE` overrides a key."
)
_CROSSING = ("Defaults", "CrossedWorkloads")


def sweep_schema() -> dict[str, Any]:
    """Return the JSON schema of a sweep file; `defaults` and `each` loosen what is required."""
    schema = SweepFile.model_json_schema()
    kinds: tuple[type[BaseModel], ...] = (ImageWorkloadKeys, UserWorkloadKeys)
    fields: dict[str, Any] = {}
    for kind in kinds:
        workload = kind.model_json_schema()
        schema["$defs"] |= workload.pop("$defs", {})
        del workload["required"]  # `defaults` and `each` may hold the rest
        schema["$defs"][kind.__name__] = workload
        fields = workload["properties"] | fields
    lists = {"type": "object", "additionalProperties": {"type": "array", "minItems": 1}}
    either = {"type": "object", "additionalProperties": False, "properties": fields}
    schema["$defs"]["Defaults"] = either
    schema["$defs"]["CrossedWorkloads"] = either | {"properties": fields | {"each": lists}}
    properties = schema["properties"]
    properties["defaults"] = {"$ref": "#/$defs/Defaults"}
    one = {"anyOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds]}
    properties["workloads"] = {
        "anyOf": [{"type": "array", "items": one}, {"$ref": "#/$defs/CrossedWorkloads"}]
    }
    return schema


def cli_reference(parser: argparse.ArgumentParser) -> str:
    """Return a Markdown section for every verb: its purpose, its usage, its options."""
    (commands,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    lines = ["# Command line", "", parser.description or "", ""]
    lines += ["Exit codes: 0 done, 1 failed, 2 wrong input, 130 stopped by Ctrl-C.", ""]
    for name, verb in commands.choices.items():
        lines += [f"## {name}", "", _sentence(verb.description or ""), ""]
        lines += ["```", _usage(verb), "```", "", *_option_table(verb)]
    return "\n".join(lines)


def sweep_reference() -> str:
    """Return Markdown tables of the keys of a sweep file and of its parts."""
    schema = sweep_schema()
    definitions: Mapping[str, Mapping[str, Any]] = schema["$defs"]
    # Those left out repeat the keys of the two kinds of workload, all of them optional.
    parts = {name: one for name, one in definitions.items() if name not in _CROSSING}
    lines = ["# Sweep files", "", *_description(schema), _ABOUT_SWEEPS, "", *_key_table(schema)]
    for name, part in parts.items():
        if "properties" in part:
            lines += [f"## {_title(name)}", "", *_description(part), *_key_table(part)]
    return "\n".join(lines)


def _usage(verb: argparse.ArgumentParser) -> str:
    return " ".join(verb.format_usage().removeprefix("usage: ").split())


def _option_table(verb: argparse.ArgumentParser) -> Iterator[str]:
    yield "| argument | |"
    yield "| --- | --- |"
    for action in verb._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        yield f"| {_argument(action)} | {_cell((action.help or '').replace('%%', '%'))} |"
    yield ""


def _argument(action: argparse.Action) -> str:
    value = _code(
        str(action.metavar or " | ".join(map(str, action.choices or [action.dest.upper()])))
    )
    if not action.option_strings:
        return value
    names = ", ".join(map(_code, action.option_strings))
    return names if isinstance(action, _NO_VALUE) else f"{names} {value}"


def _description(part: Mapping[str, Any]) -> list[str]:
    text = " ".join(str(part.get("description", "")).split())
    return [text, ""] if text else []


def _key_table(part: Mapping[str, Any]) -> list[str]:
    required: Sequence[str] = part.get("required", ())
    lines = ["| key | value | unless it is given |", "| --- | --- | --- |"]
    for name, value in part["properties"].items():
        default = "has to be" if name in required else ""
        if "default" in value:
            default = _code(_spell(value["default"]))
        lines.append(f"| {_code(name)} | {_cell(_spell_kind(value))} | {default} |")
    return [*lines, ""]


def _spell_kind(value: Mapping[str, Any]) -> str:
    """Spell the schema of a value in words."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return "keys of workloads" if name in _CROSSING else f"[{_title(name)}](#{_anchor(name)})"
    if "enum" in value:
        return ", ".join(_code(_spell(one)) for one in value["enum"])
    if "const" in value:
        return _code(_spell(value["const"]))
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_spell_kind(one) for one in value["anyOf"]))
    kind = value.get("type", "anything")
    if kind == "array":
        items = value.get("items", {})
        return "a list" if "prefixItems" in value else f"a list of: {_spell_kind(items)}"
    if kind == "object":
        inner = value.get("additionalProperties")
        if not isinstance(inner, Mapping):
            return "names and values"
        return f"names with: {_spell_kind(inner)}"
    named = {"integer": "a whole number", "number": "a number", "string": "text"}
    named |= {"boolean": "true or false", "null": "nothing"}
    return named.get(kind, str(kind)) + _range(value)


def _range(value: Mapping[str, Any]) -> str:
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{word} {value[key]:g}" for key, word in words.items() if key in value]
    return f" {', '.join(limits)}" if limits else ""


def _spell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_spell(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_spell, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _title(name: str) -> str:
    """Turn the name of a class into words: `PackKeys` into `pack keys`."""
    return re.sub("([A-Z])", r" \1", name).lower().strip()


def _anchor(name: str) -> str:
    return _title(name).replace(" ", "-")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


if __name__ == "__main__":
    json.dump(sweep_schema(), sys.stdout, indent=1)
    sys.stdout.write("\n")
