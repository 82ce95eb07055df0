"""The digest of our training sources: every file that decides what a trial computes counts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, to edit."""
    root = tmp_path_factory.mktemp("sources")
    for package in ("jobs", "thermolion"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / package, root / package, ignore=ignored)
    return root


def _digest(sources: Path) -> str:
    code = "from jobs.contract.source_digest import code_digest; print(code_digest())"
    return subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=sources,
        env=os.environ | {"PYTHONPATH": str(sources)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize(
    "file",
    ["thermolion/step/reference.py", "thermolion/registry.py", "jobs/worker/context.py"],
)
def test_an_edit_anywhere_below_changes_the_digest(sources: Path, file: str) -> None:
    before = _digest(sources)
    original = (sources / file).read_text()
    (sources / file).write_text(original + "# edited\n")
    edited = _digest(sources)
    (sources / file).write_text(original)
    assert edited != before == _digest(sources)


def test_a_file_that_moves_to_another_folder_changes_the_digest(sources: Path) -> None:
    before = _digest(sources)
    (sources / "jobs/user/supervisor.py").rename(sources / "jobs/worker/supervisor.py")
    moved = _digest(sources)
    (sources / "jobs/worker/supervisor.py").rename(sources / "jobs/user/supervisor.py")
    assert moved != before
