"""The rules of the tree: kept by this one, and broken by one that is planted against them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RULES = Path(__file__).with_name("rules.py")
PACKAGES = ("thermolion", "jobs", "slurm", "tracking", "orchestrator")


@pytest.fixture
def tree(repo: Path, tmp_path: Path) -> Path:
    """A copy of the packages, to plant violations in."""
    for package in PACKAGES:
        shutil.copytree(
            repo / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(repo / "pyproject.toml", tmp_path)
    return tmp_path


def _judged(tree: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, RULES, tree], capture_output=True, text=True)


def _a_19th_module(tree: Path) -> None:
    room = tree / "jobs" / "ranks"
    for number in range(19 - len(list(room.glob("[a-z]*.py")))):
        (room / f"planted_{number}.py").write_text("X = 1\n")


def _a_second_failures(tree: Path) -> None:
    (tree / "slurm" / "failures.py").write_text("X = 1\n")


def _numpy_in_the_contract(tree: Path) -> None:
    with (tree / "jobs" / "contract" / "trial.py").open("a") as file:
        file.write("import numpy\n")


def _a_long_file(tree: Path) -> None:
    (tree / "slurm" / "long.py").write_text("X = 1\n" * 451)


def _a_second_class(tree: Path) -> None:
    (tree / "slurm" / "planted.py").write_text("class Trial:\n    pass\n")


def _a_module_that_forwards(tree: Path) -> None:
    (tree / "slurm" / "planted.py").write_text(
        '"""Old path."""\n\nfrom slurm.site.site import Site\n'
    )


def test_a_tree_without_violations_passes(tree: Path) -> None:
    done = _judged(tree)
    assert (done.returncode, done.stdout) == (0, "the tree keeps the rules of the house\n")


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (_a_19th_module, "jobs/ranks: 19 modules, at most 18"),
        (_a_second_failures, "failures.py stands for several things"),
        (_numpy_in_the_contract, "jobs/contract/trial.py imports numpy"),
        (_a_long_file, "slurm/long.py: 451 lines, at most 450"),
        (_a_second_class, "class Trial has several meanings"),
        (_a_module_that_forwards, "slurm/planted.py only imports"),
    ],
)
def test_each_planted_violation_is_named(
    tree: Path, plant: Callable[[Path], None], said: str
) -> None:
    plant(tree)
    done = _judged(tree)
    assert done.returncode == 1
    assert said in done.stdout


def test_a_cycle_and_an_import_to_a_higher_layer_break_a_contract_each(tree: Path) -> None:
    with (tree / "tracking" / "stats" / "multiplicity.py").open("a") as file:
        file.write("import tracking.compare.blocks\n")
    with (tree / "jobs" / "contract" / "layout.py").open("a") as file:
        file.write("import jobs.contract.pack\n")
    with (tree / "jobs" / "contract" / "pack.py").open("a") as file:
        file.write("import jobs.contract.layout\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "layers of tracking BROKEN" in done.stdout
    assert "no cycle of files or folders BROKEN" in done.stdout
    assert "layers of jobs KEPT" in done.stdout
