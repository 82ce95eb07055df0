"""The command line of a user's own training: its placeholders, checked and filled.

A command is split into words first and filled afterwards, so that no value can become two words;
there is no shell. A placeholder that begins with dashes or ends in `=` is an argument: it fills a
whole word, or none if its value is absent. Runs nothing.
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract.trial import STREAMS, Candidate, Trial
from jobs.contract.workloads.catalog import DataError, check_known
from jobs.contract.workloads.workload import Workload

# Placeholders besides the names of hyperparameters and options.
BUILT_IN = (
    *("optimizer", "candidate", "workload", "trial", "block", "steps"),
    *("seed", *(f"seed_{stream}" for stream in STREAMS)),
    *("device", "data", "state", "hyperparameters", "args", "trial_file"),
)
# A command that uses one of these receives all hyperparameters; all `args` of the candidate.
_EVERYTHING = {"hyperparameters", "trial_file"}
_ALL_ARGS = {"args", "trial_file"}
_STANDS_FOR = {
    "optimizer": {"candidate", "trial", "trial_file"},
    "seed": {"block", "trial", "trial_file", *(f"seed_{stream}" for stream in STREAMS)},
}
_SEEDS = 2**31  # what every framework takes as a seed
_MARK = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
# `{--lr}`, `{-x}`, `{--lr=}`, `{lr=}`, `{+lr=}`, `{++lr=}`
_ARGUMENT = re.compile(r"(?P<lead>--?|\+{0,2})(?P<name>[^-=+][^=]*)(?P<equals>=?)")
# Text that Hydra takes as it is; any other is quoted.
_HYDRA_PLAIN = re.compile(r"(?![ :])[A-Za-z0-9_/+.%*@?| :-]+(?<![ :])")


@dataclass(frozen=True)
class Placeholder:
    """One placeholder of a command: `{lr}` within a word, or an argument, which is a word or none.

    Arguments: `{--lr}` is `--lr 0.1`, and of a flag `--nesterov` alone; `{--lr=}` is `--lr=0.1`;
    `{lr=}`, `{+lr=}` and `{++lr=}` are `lr=0.1` as Hydra reads it. `{args}` stands for all
    arguments of the candidate. `lead` is what stands before the name.
    """

    text: str
    lead: str
    name: str
    has_equals: bool

    @property
    def is_argument(self) -> bool:
        return bool(self.lead) or self.has_equals or self.name == "args"

    def fill(self, value: Any) -> list[str]:
        """Return the words of an argument; of `args`, those of each, by name."""
        if self.name != "args":
            return self._fill(self.text[: len(self.text) - self.has_equals], value)
        lead = self.lead or ("" if self.has_equals else "--")
        return [word for key, one in value.items() for word in self._fill(f"{lead}{key}", one)]

    def _fill(self, key: str, value: Any) -> list[str]:
        if value is None:
            return []
        if self.has_equals:
            written = _format_json(value) if key.startswith("-") else _format_hydra(value)
            return [f"{key}={written}"]
        if isinstance(value, bool):
            return [key] * value
        values = value if isinstance(value, (list, tuple)) else [value]
        return [key, *map(_format_value, values)]


def plain_name(name: str) -> str:
    """Return the name by which a value is found: `batch-size` and `batch_size` are one."""
    return name.replace("-", "_")


def list_placeholders(
    options: Iterable[str], hyperparameters: Iterable[str], args: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return every placeholder that a command may use.

    `args` of a candidate may have the names of options, whose values they replace. Raises
    DataError if two other things have one name: the placeholder would be ambiguous.
    """
    names = list(BUILT_IN)
    for what, added in (
        ("hyperparameter", hyperparameters),
        ("argument", args),
        ("option", [name for name in options if name not in set(args)]),
    ):
        for name in added:
            if plain_name(name) in map(plain_name, names):
                taken = "a placeholder of ours" if name in BUILT_IN else _taken_by(what)
                raise DataError(f"{what} {name!r} has the name of {taken}: give it another one")
            names.append(name)
    return tuple(names)


def _taken_by(what: str) -> str:
    return "a hyperparameter" if what == "hyperparameter" else "a hyperparameter or an argument"


def parse_command(
    command: str,
    names: Collection[str],
    must_use: Collection[str] = (),
    args: Collection[str] = (),
    elsewhere: Collection[str] = (),
) -> list[str]:
    """Return the words of a command, its placeholders not yet filled.

    `names` are the known placeholders; those in `must_use` stand for what a sweep varies
    (hyperparameters that it sets, `optimizer`, `seed`), and so do `args`, the arguments of the
    candidate. Those that other candidates have are `elsewhere`: an argument may be of them, and is
    absent. Raises DataError for a command that is empty, cannot be split, has an unknown
    placeholder or leaves out one that it must use.
    """
    words = _split(command)
    known = {plain_name(name) for name in names}
    others = {plain_name(name) for name in elsewhere}
    used: set[str] = set()
    for placeholder in _find_placeholders(words):
        name = plain_name(placeholder.name)
        used.add(name)
        if name in known or (placeholder.is_argument and name in others):
            continue
        if name in others:
            raise DataError(
                f"{{{placeholder.text}}} has no value here: give it one, one for all under "
                f"`options` of the workload, or write {{--{placeholder.name}}} or "
                f"{{{placeholder.name}=}}, which are left out if there is none"
            )
        choices = [*names, *sorted(others - known)] if placeholder.is_argument else names
        check_known(placeholder.name, choices, "placeholder")
    for name in must_use:
        stand_ins = _STANDS_FOR.get(name, _EVERYTHING)
        if not used & {plain_name(name), *stand_ins}:
            raise DataError(
                f"command {command!r} never uses {name!r}, which the sweep varies or sets: it "
                f"would have no effect; write it in, such as --{name} {{{name}}}"
                + (", or hand over all with {hyperparameters}" if name not in _STANDS_FOR else "")
            )
    for name in args:
        if not used & {plain_name(name), *_ALL_ARGS}:
            raise DataError(
                f"command {command!r} never uses {name!r}, which `args` set: it would have no "
                f"effect; write it in, such as {{--{name}}} (argparse), {{{name}=}} (Hydra) or "
                f"{{{name}}} (the value alone), or all of them: {{args}}, {{args=}}"
            )
    return words


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise DataError(
            f"command {command!r} cannot be split into words: {error.args[0]}"
        ) from error
    if not words:
        raise DataError("the command is empty: write one, such as python train.py --lr {lr}")
    return words


def find_placeholders(command: str) -> frozenset[str]:
    """Return the names of the placeholders in a command, as `plain_name` spells them.

    Raises DataError if it is malformed.
    """
    return frozenset(plain_name(one.name) for one in _find_placeholders(shlex.split(command)))


def read_values(command: str, values: Mapping[str, Any]) -> list[Any]:
    """Return what each placeholder reads of some values: words if an argument, else the value.

    Equal lists make equal commands; a value that is not there is None.
    """
    known = {plain_name(name): value for name, value in values.items()}
    found = {one.text: one for one in _find_placeholders(shlex.split(command))}
    each = [(one, known.get(plain_name(one.name))) for one in found.values()]
    return [one.fill(value) if one.is_argument else value for one, value in each]


def select_settings(workload: Workload, candidate: Candidate) -> Mapping[str, Any]:
    """Return the hyperparameters and `args` that a training is given: of a command, those it uses.

    The others are defaults of our optimizers: a script that builds its own `sgd` may well have
    another momentum.
    """
    given = candidate.settings
    used = _EVERYTHING if workload.command is None else find_placeholders(workload.command)
    return {
        name: value
        for name, value in given.items()
        if plain_name(name) in used
        or used & (_ALL_ARGS if name in candidate.args else _EVERYTHING)
        or workload.command is None
    }


def render(command: str, values: Mapping[str, Any]) -> list[str]:
    """Return the words of a command with its placeholders filled; raises DataError."""
    known = {plain_name(name): value for name, value in values.items()}
    rendered = []
    for word in _split(command):
        placeholders = list(_find_placeholders([word]))
        if len(placeholders) == 1 and placeholders[0].is_argument:
            rendered += placeholders[0].fill(known.get(plain_name(placeholders[0].name)))
        else:
            rendered.append(_MARK.sub(lambda mark: _fill_mark(mark, known), word))
    return rendered


def _fill_mark(mark: re.Match[str], values: Mapping[str, Any]) -> str:
    name = mark.group(1)
    if name is None:
        return mark.group()[0]
    if name == "data" and name not in values:
        raise DataError("the command uses {data} and no data root is given: point --data at one")
    check_known(plain_name(name), values, "placeholder")
    return _format_value(values[plain_name(name)])


def fill_path(path: str, values: Mapping[str, Any], escape: Callable[[str], str] = str) -> str:
    """Return a path with its placeholders filled, by values that `escape` has made literal."""
    known = {plain_name(name): value for name, value in values.items()}
    return _MARK.sub(lambda mark: escape(_fill_mark(mark, known)), path)


def check_path(path: str, names: Collection[str]) -> None:
    """Raise DataError for a path with placeholders that is not of one trial alone.

    It is relative to the folder that the trial runs in, or has what tells trials apart in it.
    """
    used = set()
    for placeholder in _find_placeholders([path]):
        check_known(placeholder.name, names, "placeholder")
        used.add(placeholder.name)
    apart = used & {"state", "trial"}
    if not apart and (path.startswith(("/", "~")) or ".." in path.split("/")):
        raise DataError(
            f"every trial would read the same {path!r}: write a path below the folder that the "
            "command runs in, or one with {trial} or {state} in it, which the command has as well"
        )


def resolve_placeholders(
    trial: Trial, device: str, data_root: Path | None, state: Path, trial_file: Path
) -> dict[str, Any]:
    """Return what each placeholder stands for; `data` is missing without a data root."""
    workload, candidate = trial.user_workload, trial.candidate
    values: dict[str, Any] = {
        "optimizer": candidate.optimizer,
        "candidate": candidate.name,
        "workload": workload.name,
        "trial": trial.id,
        "block": trial.block,
        "steps": workload.steps,
        "seed": trial.seeds["init"] % _SEEDS,
        **{f"seed_{stream}": seed % _SEEDS for stream, seed in trial.seeds.items()},
        "device": device,
        "state": state,
        "hyperparameters": dict(candidate.hyperparameters),
        "args": dict(candidate.args),
        "trial_file": trial_file,
    }
    if data_root is not None:
        values["data"] = data_root
    return {**trial.options, **candidate.hyperparameters} | values


def search_path() -> str:
    """Return the PATH on which a command is searched: `python` is the one that runs us."""
    here = str(Path(sys.executable).parent)
    return os.pathsep.join([here, os.environ.get("PATH", os.defpath)])


def _find_placeholders(words: Iterable[str]) -> Iterator[Placeholder]:
    for word in words:
        for mark in _MARK.finditer(word):
            if mark.group(1) is not None:
                yield _read_placeholder(mark, word)
            elif mark.group() in ("{", "}"):
                raise DataError(
                    f"{word!r} has a single {mark.group()!r}: double it if it is meant "
                    f"as it is ({mark.group() * 2})"
                )


def _read_placeholder(mark: re.Match[str], word: str) -> Placeholder:
    text = mark.group(1)
    found = _ARGUMENT.fullmatch(text)
    if found is None or (found["lead"].startswith("+") and not found["equals"]):
        placeholder = Placeholder(text, "", text, has_equals=False)
    else:
        placeholder = Placeholder(text, found["lead"], found["name"], bool(found["equals"]))
    if placeholder.is_argument and word != mark.group():
        raise DataError(
            f"{mark.group()} in {word!r} stands for whole words, or for none: put spaces around "
            f"it, or write {{{placeholder.name}}} for the value alone"
        )
    return placeholder


def _format_value(value: Any) -> str:
    """Return a value as a program reads it: true or false, lists with commas, JSON for a map."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(map(_format_value, value))
    if isinstance(value, Mapping):
        return json.dumps(value)
    return repr(value) if isinstance(value, float) else str(value)


def _format_json(value: Any) -> str:
    """Return a value for an option that reads lists and maps as JSON or YAML (jsonargparse)."""
    return json.dumps(value) if isinstance(value, (list, tuple, Mapping)) else _format_value(value)


def _format_hydra(value: Any) -> str:
    """Return a value in the grammar of Hydra's overrides: [a,b], {a:1}, null, quoted text."""
    if value is None:
        return "null"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_format_hydra, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_format_hydra(one)}" for key, one in value.items()) + "}"
    text = _format_value(value)
    if not isinstance(value, str) or _HYDRA_PLAIN.fullmatch(text):
        return text
    # A backslash is one, unless it stands before a quote.
    quoted = re.sub(r"(\\*)('|$)", lambda end: end[1] * 2 + "\\'" * bool(end[2]), text)
    return f"'{quoted}'"
