"""The user's own code: which trials name it, where it lies, and how this process imports it."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from jobs import catalog
from jobs.trial import Trial

# Folders of ours that a user's project may have as well; `thermolion` is a distribution's name.
OUR_PACKAGES = ("jobs", "tracking", "slurm", "orchestrator")


def dotted_paths(trial: Trial) -> dict[str, str]:
    """Return the `module:name` paths that a trial names, by what they are.

    The optimizer of a command is none: its script alone knows what to make of the name, and may
    run in an environment of its own.
    """
    if trial.workload.command is not None:
        return {}
    named = {**trial.workload.named, "optimizer": trial.candidate.optimizer}
    return {what: path for what, path in named.items() if catalog.is_dotted(path)}


def names_user_code(trial: Trial, folder: Path) -> bool:
    """Whether a trial runs code that lies below `folder`; a command is believed to.

    A dotted path into an installed package (`torch.optim:Adagrad`) needs nothing of the folder.
    """
    if trial.workload.command is not None:
        return True
    return any(_lies_below(path, folder) for path in dotted_paths(trial).values())


def _lies_below(path: str, folder: Path) -> bool:
    place = folder.joinpath(*path.partition(":")[0].split("."))
    return place.with_name(f"{place.name}.py").is_file() or place.is_dir()


def clashes(folder: Path) -> list[Path]:
    """Return the user's modules that one of ours hides: `jobs/data.py` and the like.

    Folders of equal name are no clash: ours are looked into first, then theirs. An `__init__.py`
    of theirs is never run.
    """
    return [
        module
        for package in OUR_PACKAGES
        for home in _homes(package)
        if (folder / package).is_dir() and not (folder / package).samefile(home)
        for module in sorted((folder / package).iterdir())
        if module.stem not in ("__init__", "__main__", "__pycache__")
        and (module.suffix == ".py" or (module / "__init__.py").is_file())
        and ((home / f"{module.stem}.py").is_file() or (home / module.stem).is_dir())
    ]


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Import from `folder`, behind all else, as a lane does; forget what came from there after.

    Whoever calls from another folder next would otherwise meet the modules of this one.
    """
    before = set(sys.modules)
    paths = [sys.path, *(importlib.import_module(package).__path__ for package in OUR_PACKAGES)]
    kept = [list(path) for path in paths]
    sys.path.append(str(folder))
    for package, path in zip(OUR_PACKAGES, paths[1:], strict=True):
        if (folder / package).is_dir():
            path.append(str(folder / package))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for path, entries in zip(paths, kept, strict=True):
            path[:] = entries
        for name in set(sys.modules) - before:
            if _is_from(folder, name):
                _forget(name)


def _is_from(folder: Path, name: str) -> bool:
    """Whether a module lies where `folder` has it, and is none of ours."""
    # Whoever works on thermolion runs it from a folder that has our own packages.
    package = name.partition(".")[0]
    if any(
        (folder / package).is_dir() and (folder / package).samefile(h) for h in _homes(package)
    ):
        return False
    module, place = sys.modules[name], folder.joinpath(*name.split("."))
    # Not by getattr: some modules of torch answer to any name.
    facts = getattr(module, "__dict__", {})
    known = [facts.get("__file__"), *(facts.get("__path__") or ())]
    possible = (place, place / "__init__.py", place.with_name(f"{place.name}.py"))
    return any(isinstance(found, str) and Path(found) in possible for found in known)


def _homes(package: str) -> list[Path]:
    """Return where a package of ours lies; nothing for any other."""
    if package not in (*OUR_PACKAGES, "thermolion"):
        return []
    return [Path(next(iter(importlib.import_module(package).__path__)))]


def _forget(name: str) -> None:
    module = sys.modules.pop(name)
    parent, _, child = name.rpartition(".")
    owner = sys.modules.get(parent)
    if owner is not None and getattr(owner, child, None) is module:
        delattr(owner, child)
