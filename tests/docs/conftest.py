"""The first tutorial, followed to its end once, for all tests of it and of the notebook."""

import os
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


@dataclass(frozen=True)
class Followed:
    """A folder in which a page was followed; `said` is what each command has printed."""

    folder: Path
    said: dict[str, str] = field(default_factory=dict)

    @property
    def study(self) -> Path:
        return self.folder / "studies" / "first"


def blocks(page: str, language: str) -> list[tuple[str, str]]:
    """Return (title, text) of the fenced blocks of a page that are in a language."""
    fence = re.compile(rf"^```{language}(?: title=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return fence.findall((REPO / "docs" / page).read_text())


@pytest.fixture(scope="session")
def followed(tmp_path_factory: pytest.TempPathFactory, warm: str) -> Followed:
    """Do what docs/tutorial.md says, all but looking."""
    made = Followed(tmp_path_factory.mktemp("tutorial"))
    for title, text in blocks("tutorial.md", "yaml"):
        (made.folder / title).write_text(text)
    dropped = ("MLFLOW_TRACKING_URI", "THERMOLION_ROOT")
    for _, text in blocks("tutorial.md", "sh"):
        for line in text.splitlines():
            program, verb, *words = shlex.split(line)
            assert program == "thermolion"
            if (
                verb == "ui"
            ):  # it stays until Ctrl-C; tests/orchestrator/cli/test_ui.py looks at it
                continue
            done = subprocess.run(
                [warm, "-P", "-m", "orchestrator.cli.main", verb, *words],
                cwd=made.folder,
                env={k: v for k, v in os.environ.items() if k not in dropped},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            made.said[line] = done.stdout + done.stderr
    return made
