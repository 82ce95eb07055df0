"""The command line of a user's own training: its placeholders, checked and filled.

A command is split into words first and filled afterwards, so that no value can become two words;
there is no shell. Runs nothing.
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.contract.trial import STREAMS, Candidate, Trial
from jobs.contract.workloads.catalog import DataError, check_known
from jobs.contract.workloads.workload import Workload

# Placeholders besides the names of hyperparameters and options.
BUILT_IN = (
    *("optimizer", "candidate", "workload", "trial", "block", "steps"),
    *("seed", *(f"seed_{stream}" for stream in STREAMS)),
    *("device", "data", "state", "hyperparameters", "trial_file"),
)
# A command that uses one of these receives all hyperparameters.
_EVERYTHING = {"hyperparameters", "trial_file"}
_STANDS_FOR = {
    "optimizer": {"candidate", "trial", "trial_file"},
    "seed": {"block", "trial", "trial_file", *(f"seed_{stream}" for stream in STREAMS)},
}
_SEEDS = 2**31  # what every framework takes as a seed
_MARK = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def list_placeholders(options: Iterable[str], hyperparameters: Iterable[str]) -> tuple[str, ...]:
    """Return every placeholder that a command may use.

    Raises DataError if two things have one name: the placeholder would be ambiguous.
    """
    names = list(BUILT_IN)
    for what, added in (("hyperparameter", hyperparameters), ("option", options)):
        for name in added:
            if name in names:
                taken = "a placeholder of ours" if name in BUILT_IN else "a hyperparameter"
                raise DataError(f"{what} {name!r} has the name of {taken}: give it another one")
            names.append(name)
    return tuple(names)


def parse_command(
    command: str, names: Collection[str], must_use: Collection[str] = ()
) -> list[str]:
    """Return the words of a command, its placeholders not yet filled.

    `names` are the known placeholders; those in `must_use` stand for what a sweep varies
    (hyperparameters that it sets, `optimizer`, `seed`). Raises DataError for a command that is
    empty, cannot be split, has an unknown placeholder or leaves out one that it must use.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise DataError(
            f"command {command!r} cannot be split into words: {error.args[0]}"
        ) from error
    if not words:
        raise DataError("the command is empty: write one, such as python train.py --lr {lr}")
    used = set(_find_names(words))
    for name in sorted(used):
        check_known(name, names, "placeholder")
    for name in must_use:
        stand_ins = _STANDS_FOR.get(name, _EVERYTHING)
        if not used & {name, *stand_ins}:
            raise DataError(
                f"command {command!r} never uses {name!r}, which the sweep varies or sets: it "
                f"would have no effect; write it in, such as --{name} {{{name}}}"
                + (", or hand over all with {hyperparameters}" if name not in _STANDS_FOR else "")
            )
    return words


def find_placeholders(command: str) -> frozenset[str]:
    """Return the names of the placeholders in a command; raises DataError if it is malformed."""
    return frozenset(_find_names(shlex.split(command)))


def select_hyperparameters(workload: Workload, candidate: Candidate) -> Mapping[str, Any]:
    """Return the hyperparameters that a training is given: of a command, those that it uses.

    The others are defaults of our optimizers: a script that builds its own `sgd` may well have
    another momentum.
    """
    given = candidate.hyperparameters
    used = _EVERYTHING if workload.command is None else find_placeholders(workload.command)
    if used & _EVERYTHING:
        return given
    return {name: value for name, value in given.items() if name in used}


def render(command: str, values: Mapping[str, str]) -> list[str]:
    """Return the words of a command with its placeholders filled; raises DataError."""
    if "data" not in values and "data" in find_placeholders(command):
        raise DataError("the command uses {data} and no data root is given: point --data at one")
    words = parse_command(command, values)

    def filled(mark: re.Match[str]) -> str:
        name = mark.group(1)
        return mark.group()[0] if name is None else values[name]

    return [_MARK.sub(filled, word) for word in words]


def resolve_placeholders(
    trial: Trial, device: str, data_root: Path | None, state: Path, trial_file: Path
) -> dict[str, str]:
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
        "trial_file": trial_file,
    }
    if data_root is not None:
        values["data"] = data_root
    values = {**workload.options, **candidate.hyperparameters} | values
    return {name: _format_value(value) for name, value in values.items()}


def search_path() -> str:
    """Return the PATH on which a command is searched: `python` is the one that runs us."""
    here = str(Path(sys.executable).parent)
    return os.pathsep.join([here, os.environ.get("PATH", os.defpath)])


def _find_names(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        for mark in _MARK.finditer(word):
            if mark.group(1) is not None:
                yield mark.group(1)
            elif mark.group() in ("{", "}"):
                raise DataError(
                    f"{word!r} has a single {mark.group()!r}: double it if it is meant "
                    f"as it is ({mark.group() * 2})"
                )


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
