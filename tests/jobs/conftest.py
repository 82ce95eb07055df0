"""A study of one command, below a folder of its own; and what a lane in this process changes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from commands import Study


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # as a lane has it
    paths = list(sys.path)
    monkeypatch.setattr(sys, "path", paths)
    return Study(tmp_path)


@pytest.fixture
def as_it_was() -> Iterator[None]:
    """A lane fixes global settings of torch, and the user's code joins the path: undo both."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    path, modules = list(sys.path), set(sys.modules)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = filled
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("my_"):
            del sys.modules[name]
