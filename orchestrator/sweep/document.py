"""A sweep file as text: YAML, `--set` overrides, and errors that name file and line.

Knows YAML, not what the keys mean.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from jobs.contract.close_names import find_close_name
from thermolion.errors import InputError

Location = tuple[str | int, ...]

# What PyYAML raises for bad files, and for good ones whose explicit tags do not fit their values.
_NOT_YAML = (yaml.YAMLError, ValueError, TypeError, KeyError, IndexError, AttributeError)


class SweepError(InputError):
    """Wrong input; the message names the place, the value, the choices and the next step."""


class Invalid(SweepError):  # noqa: N818 - to be read as `raise Invalid(location, …)`
    """A mistake at a location of a document; whoever has the document adds file and line."""

    def __init__(self, location: Sequence[str | int], message: str) -> None:
        name = join_location(location)
        super().__init__(f"{name}: {message}" if name else message)
        self.location = tuple(location)


@dataclass(frozen=True)
class Document:
    """Parsed data of a sweep file, with the place of every value for error messages."""

    path: Path
    text: str
    data: dict[str, Any]
    lines: dict[Location, int] = field(default_factory=dict)
    overrides: dict[Location, str] = field(default_factory=dict)

    def error(self, mistake: Invalid) -> SweepError:
        """Return a mistake as an error that names the innermost place that is known of it."""
        known = mistake.location
        while known and known not in self.lines and known not in self.overrides:
            known = known[:-1]
        if known in self.overrides:
            place = f"--set {self.overrides[known]}"
        elif known in self.lines:
            place = f"{self.path}, line {self.lines[known]}"
        else:
            place = str(self.path)
        return SweepError(f"{place}: {mistake}")


def read_document(path: Path, overrides: Iterable[str] = ()) -> Document:
    """Parse `path` and apply `--set` overrides; raises SweepError if it is not a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SweepError(f"cannot read {path}: {error}") from error
    try:
        root = yaml.compose(text, Loader=_Loader)
        data = yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise SweepError(f"{path}: it is nested too deeply, or holds itself") from error
    except _NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or error
        raise SweepError(f"{place}: this is not valid YAML: {problem}") from error
    if root is None or not isinstance(data, dict):
        raise SweepError(f"{path}: a sweep is a mapping (`study: …`), this is {_kind(data)}")
    document = Document(path, text, data)
    try:
        _index(root, (), document)
        json.dumps(data)
    except RecursionError as error:
        raise SweepError(f"{path}: an alias in it holds itself") from error
    except (TypeError, ValueError) as error:
        raise SweepError(f"{path}: it may hold text, numbers, true and false: {error}") from error
    for override in overrides:
        _apply(override, document)
    return document


def join_location(location: Sequence[str | int]) -> str:
    """Write a location as `--set` takes it: `candidates.adamw.lr`."""
    return ".".join(map(str, location))


def choices(value: object, known: Iterable[str]) -> str:
    """Return "did you mean …? choose from …" for a value that is none of `known`."""
    names = list(known)
    if not names:
        return "there is none to choose from"
    near = find_close_name(str(value), names, cutoff=0.5)
    hint = f"did you mean {near!r}? " if near else ""
    return f"{hint}choose from {', '.join(names)}"


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars, keys that are text, and none of them twice.

    PyYAML follows 1.1, in which `1e-3` is text, `010` eight, `1:30` ninety and `no` false.
    """

    # Not ruamel.yaml, although it follows 1.2: it would replace the patterns below and no more.
    # Lines, keys that are no text and the words of errors would stay ours, it makes dates and
    # `1_000` more than text, and its import takes 0.07 s more of the half second that `plan` has.

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {  # type: ignore[misc]  # PyYAML's own way
        first: [(tag, rule) for tag, rule in rules if tag.endswith((":null", ":merge"))]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            problem = None
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                problem = "a key is not text: put it in quotes"
            elif key.value in seen:
                problem = f"the key {key.value!r} is here twice"
            if problem is not None:
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
    )
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


def _index(node: yaml.Node, location: Location, document: Document) -> None:
    """Record the line of every value, which is that of its key if it has one."""
    document.lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            document.lines[(*location, key.value)] = key.start_mark.line + 1
            _index(value, (*location, key.value), document)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            _index(value, (*location, position), document)


def _apply(override: str, document: Document) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise SweepError(f"--set {override}: write it as --set key.subkey=value")
    try:
        value = yaml.load(text, Loader=_Loader)
        json.dumps(value)
    except (*_NOT_YAML, RecursionError) as error:
        raise SweepError(f"--set {override}: the value is not valid YAML: {error}") from error
    parts = key.strip().split(".")
    location = tuple(int(p) if p.isascii() and p.isdecimal() else p for p in parts)
    here: Any = document.data
    for depth, part in enumerate(location):
        wrong = None
        if isinstance(here, dict):
            if depth < len(location) - 1 and here.get(part) is None:
                here[part] = {}
        elif not isinstance(here, list):
            wrong = f"is {_kind(here)}, nothing can be set below it"
        elif not isinstance(part, int) or part >= len(here):
            wrong = f"is a list of {len(here)}, {part!r} is no position in it (they count from 0)"
        if wrong is not None:
            raise SweepError(f"--set {override}: {join_location(location[:depth])} {wrong}")
        if depth == len(location) - 1:
            here[part] = value
        else:
            here = here[part]
    document.overrides[location] = override


def _kind(value: object) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", type(None): "empty"}
    return names.get(type(value), f"the value {value!r}")
