"""What the checks of the house share: the repository and the files that belong to it."""

import subprocess
from pathlib import Path

import pytest

_REPO = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def repo() -> Path:
    return _REPO


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """Every tracked file that exists, relative to the repository."""
    if not (_REPO / ".git").exists():
        pytest.skip(
            f"needs a git checkout: {_REPO} is none, so nothing tells which files are ours"
        )
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=_REPO, capture_output=True, text=True, check=True
    )
    paths = [Path(name) for name in listed.stdout.split("\0") if name]
    return [path for path in paths if (_REPO / path).is_file()]
