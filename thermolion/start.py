"""The start of every process of ours: `python -P -m thermolion.start MODULE …`, and `thermolion`.

Python looks into the folders of PYTHONPATH first. A project there that has a package or a module
called `jobs`, `slurm`, `tracking` or `orchestrator` would be run in the place of ours: so these
are loaded from where this file lies. Standard library only; loads nothing else.
"""

import importlib
import os
import runpy
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

PACKAGES = ("jobs", "orchestrator", "slurm", "tracking")
_HOME = Path(__file__).parents[1]


def find_shadows() -> list[str]:
    """Return the folders of PYTHONPATH that have something called like one of our packages.

    An empty entry is the current folder: `PYTHONPATH=$PYTHONPATH:/lib` makes one of nothing.
    """
    if not (entries := os.environ.get("PYTHONPATH")):
        return []
    folders = [entry or str(Path.cwd()) for entry in entries.split(os.pathsep)]
    return [folder for folder in folders if any(_has_other(folder, name) for name in PACKAGES)]


def put_ours_first() -> None:
    """Load our packages, whatever PYTHONPATH has of their names.

    Modules of a package there are found behind those of ours.
    """
    for folder in find_shadows():
        for name in PACKAGES:
            if not _has_other(folder, name):
                continue
            if name not in sys.modules:
                _load(name)
            theirs = Path(folder, name).absolute()
            package = sys.modules[name]
            if theirs.is_dir() and str(theirs) not in package.__path__:
                package.__path__.append(str(theirs))


def main() -> int:
    """Run the command line: the console script `thermolion`."""
    put_ours_first()
    code: int = importlib.import_module("orchestrator.cli.main").main()
    return code


def _has_other(folder: str, name: str) -> bool:
    spec = PathFinder.find_spec(name, [folder])
    if spec is None:
        return False
    places = spec.submodule_search_locations
    return places is None or not any(_is_ours(Path(place), name) for place in places)


def _is_ours(place: Path, name: str) -> bool:
    return place.exists() and place.samefile(_HOME / name)  # none of a zip file's exists


def _load(name: str) -> None:
    place = _HOME / name
    spec = spec_from_file_location(
        name, place / "__init__.py", submodule_search_locations=[str(place)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


if __name__ == "__main__":
    put_ours_first()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
