"""Every command that a page shows is one that the command line takes, on files that there are."""

import re
import shlex
from pathlib import Path

import pytest

from orchestrator.cli.main import command_line

REPO = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(REPO)
    for path in (*REPO.glob("*.md"), *REPO.glob("docs/*.md"), *REPO.glob("examples/*.md"))
)
_BLOCK = re.compile(r"^```(?:sh)?(?: [^\n]*)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _commands(page: Path) -> list[list[str]]:
    """Return the words of all calls of ours in the blocks of a page."""
    found = []
    for block in _BLOCK.findall((REPO / page).read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            shown = re.search(r"(?:^|\$\()thermolion ([a-z][^#)]*)", line.strip())
            if shown:
                found.append(shlex.split(shown[1]))
    return found


def test_the_pages_show_commands() -> None:
    assert sum(len(_commands(page)) for page in PAGES) > 60


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_command_of_a_page_is_taken(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = []
    for words in _commands(page):
        try:
            command_line().parse_args([word for word in words if word != "…"])
        except SystemExit as end:
            if end.code:
                wrong.append(f"{' '.join(words)}: {capsys.readouterr().err.splitlines()[-1]}")
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_sweep_of_ours_that_a_command_names_is_there(page: Path) -> None:
    named = {word for words in _commands(page) for word in words if word.startswith("sweeps/")}
    assert [name for name in sorted(named) if not (REPO / name).is_file()] == []
