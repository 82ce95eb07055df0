"""Every exception of the project has its place in the one hierarchy, and that is written down."""

import ast
import builtins
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import thermolion
from orchestrator.cli import main
from thermolion import errors

REPO = Path(__file__).parents[2]
PACKAGES = ("thermolion", "jobs", "slurm", "tracking", "orchestrator")


def _classes() -> Iterator[tuple[str, str, list[str]]]:
    """Yield module, name and the names of the bases of every class that is written anywhere."""
    for path in sorted(path for package in PACKAGES for path in (REPO / package).rglob("*.py")):
        module = ".".join(path.relative_to(REPO).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
                yield module.removesuffix(".__init__"), node.name, bases


def _exceptions() -> list[type]:
    """Return the classes that descend from an exception, whoever's: imports only their modules."""
    classes = list(_classes())
    names = {name for name, kind in vars(builtins).items() if isinstance(kind, type)}
    names = {name for name in names if issubclass(getattr(builtins, name), BaseException)}
    while more := {name for _, name, bases in classes if names & {*bases}} - names:
        names |= more
    return [
        getattr(importlib.import_module(module), name)
        for module, name, bases in classes
        if names & {*bases} or any(base.endswith(("Error", "Exception")) for base in bases)
    ]


def _documented() -> dict[str, str | None]:
    """Return the tree in the docstring of `thermolion.errors`: names, each with its parent."""
    parents: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for indent, name in re.findall(r"^( {4,})([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE):
        above = [one for one in above if one[0] < len(indent)]
        assert name not in parents, f"{name} is listed twice"
        parents[name] = above[-1][1] if above else None
        above.append((len(indent), name))
    return parents


def test_every_exception_descends_from_one_of_the_two_kinds() -> None:
    found = _exceptions()
    assert errors.ThermolionError in found
    strays = [kind for kind in found if not issubclass(kind, errors.ThermolionError)]
    both = [
        kind
        for kind in found
        if kind is not errors.ThermolionError
        and issubclass(kind, errors.InputError) == issubclass(kind, errors.OperationError)
    ]
    assert not strays
    assert not both  # else the exit code would hang on the order of two lines


def test_the_docstring_has_every_exception_below_its_parent() -> None:
    bases = {kind.__name__: {base.__name__ for base in kind.__bases__} for kind in _exceptions()}
    documented = _documented()
    assert set(documented) == set(bases)
    for name, parent in documented.items():
        assert (parent or "Exception") in bases[name], name


def test_what_torch_users_catch_stays_what_it_is() -> None:
    from thermolion.ddp.replica_check import ReplicaError
    from thermolion.registry import HyperparameterError

    assert issubclass(HyperparameterError, ValueError)
    assert issubclass(ReplicaError, RuntimeError)


def test_the_root_needs_the_standard_library_alone() -> None:
    code = (
        "import sys, thermolion\n"
        "assert issubclass(thermolion.InputError, thermolion.ThermolionError)\n"
        "assert issubclass(thermolion.OperationError, thermolion.ThermolionError)\n"
        "foreign = {name.partition('.')[0] for name in sys.modules} - {*sys.stdlib_module_names}\n"
        "print(sorted(name for name in foreign if not name.startswith('_')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=REPO, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['thermolion']\n"


def test_the_kind_of_an_error_is_its_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.cli import status

    for error, code in (
        (thermolion.InputError("name another"), 2),
        (thermolion.OperationError("come back later"), 1),
        (OSError("the disk is full"), 1),
    ):

        def fails(_: object, error: Exception = error) -> int:
            raise error

        monkeypatch.setattr(status, "status", fails)
        assert main.main(["status", "study"]) == code
        assert capsys.readouterr().err == f"thermolion: {error}\n"
