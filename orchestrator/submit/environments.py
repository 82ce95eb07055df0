"""Python environments in the folder of the user's code: never copied, and found by commands.

An environment (venv, conda) is installed software: large, and bound to where it lies. The copy of
the code has a link in its place if a command is run by it (`.venv/bin/python train.py`).
"""

import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from orchestrator.sweep.document import SweepError

_MARKS = ("pyvenv.cfg", "conda-meta/history")  # files that venv and conda put into each of theirs


def is_environment(folder: Path) -> bool:
    """Return True if a folder is an environment by what venv, virtualenv or conda leave in it."""
    return any((folder / mark).is_file() for mark in _MARKS)


def find_environments(names: Iterable[str]) -> set[str]:
    """Return the folders among the files `names` that are environments, by relative path."""
    return {
        name.removesuffix(f"/{mark}")
        for name in names
        for mark in _MARKS
        if name.endswith(f"/{mark}")
    }


def find_links(source: Path, files: Sequence[str], commands: Iterable[str]) -> set[str]:
    """Return the environments below `source` whose programs are what some commands run.

    Raises SweepError for a program of the folder that is neither of an environment nor among the
    `files` that are copied: it would not be there.
    """
    links = set()
    copied = set(files)
    for command in commands:
        word = shlex.split(command)[0]
        program = PurePosixPath(word)
        if "/" not in word or program.is_absolute() or program.as_posix() in copied:
            continue
        inside = () if ".." in program.parts else (str(one) for one in reversed(program.parents))
        place = next((one for one in inside if one != "." and is_environment(source / one)), None)
        if place is None and (source / program).is_file():
            raise SweepError(
                f"command {command!r}: {word} is not copied with the code of {source} (it lies "
                f"elsewhere or is hidden, or git or .thermolionignore leaves it out): write its "
                f"absolute path, {os.path.normpath(source / program)}"
            )
        if place is not None:
            links.add(place)
    return links


def link_environments(source: Path, links: Iterable[str], target: Path) -> None:
    """Put a link to each environment into a copy of the code."""
    for link in links:
        (target / link).parent.mkdir(parents=True, exist_ok=True)
        (target / link).symlink_to((source / link).absolute())
