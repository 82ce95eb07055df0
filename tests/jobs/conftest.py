"""A study of one command, below a folder of its own."""

import sys
from pathlib import Path

import pytest
from commands import Study


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # as a lane has it
    paths = list(sys.path)
    monkeypatch.setattr(sys, "path", paths)
    return Study(tmp_path)
