"""The page on one's own training: what a stranger copies from it works as it stands."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import thermolion as package
from jobs.contract import command_template
from jobs.contract.events import read_events
from jobs.contract.layout import Layout
from jobs.contract.trial import STREAMS
from jobs.user import command
from jobs.worker.context import Context
from orchestrator.sweep.workload_keys import UserWorkloadKeys

Thermolion = Callable[..., "subprocess.CompletedProcess[str]"]

PAGE = (Path(__file__).parents[2] / "docs" / "bring-your-own-training.md").read_text()


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the words behind it, and its text."""

    language: str
    words: str
    text: str

    @property
    def title(self) -> str | None:
        found = re.search(r"title=(\S+)", self.words)
        return found and found.group(1)


def _section(heading: str) -> str:
    found = re.search(
        rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    assert found, f"no section {heading!r}"
    return found.group(1)


def _blocks(heading: str) -> list[Block]:
    fence = re.compile(r"^```(\w+) ?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [Block(*match.groups()) for match in fence.finditer(_section(heading))]


def _write(heading: str, folder: Path) -> None:
    for block in _blocks(heading):
        if block.title:
            (folder / block.title).write_text(block.text)


@pytest.mark.parametrize(
    ("heading", "study", "trials"),
    [
        ("A function", "first", 15),
        ("A command", "second", 10),
        ("Any program", "third", 10),
        ("A script as it is", "as-it-is", 10),
    ],
)
def test_what_the_page_shows_can_be_copied_and_run(
    heading: str, study: str, trials: int, thermolion: Thermolion, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    _write(heading, folder)
    (commands,) = (b for b in _blocks(heading) if b.language == "sh" and not b.title)
    verbs = []
    for line in commands.text.splitlines():
        program, *words = line.split()
        if program == "thermolion":
            thermolion(folder, *words)
            verbs.append(words[0])
        else:
            assert program == "python"
            subprocess.run([sys.executable, *words], cwd=folder, check=True, capture_output=True)
    assert "run" in verbs
    logs = Layout(tmp_path / "studies", study).events.glob("*")
    events = [event for log in logs for event in read_events(log)]
    results = [event.payload["metrics"] for event in events if event.type == "completed"]
    assert len(results) == trials
    assert len({str(metrics) for metrics in results}) == trials


def test_a_script_that_resumes_by_itself_is_as_the_page_has_it(tmp_path: Path) -> None:
    _write("The protocol of a command", tmp_path)
    log, state = tmp_path / "log", tmp_path / "state"
    state.mkdir()
    sweep = {"THERMOLION_LOG": log, "THERMOLION_STATE": state, "THERMOLION_STOP": tmp_path / "no"}
    script = [sys.executable, "resume.py"]
    ours = {name: str(path) for name, path in sweep.items()}
    (tmp_path / "no").touch()
    subprocess.run(script, cwd=tmp_path, env=os.environ | ours, check=True)
    assert [command.parse(line).step for line in log.read_bytes().splitlines()] == [0]
    (tmp_path / "no").unlink()
    subprocess.run(script, cwd=tmp_path, env=os.environ | ours, check=True)
    lines = [command.parse(line).step for line in log.read_bytes().splitlines()]
    assert lines == [0, 1, 2, 3, 4, None]
    alone = {name: text for name, text in os.environ.items() if name not in sweep}
    said = subprocess.run(script, cwd=tmp_path, env=alone, check=True, capture_output=True)
    assert said.stdout.startswith(b"step 0: val_accuracy 0\n")


def test_the_lines_of_the_protocol_are_read() -> None:
    (shown,) = (
        block for block in _blocks("The protocol of a command") if block.language == "json"
    )
    read = [command.parse(line.encode()) for line in shown.text.splitlines()]
    assert [line.step for line in read] == [10, None]


def _first_cells(heading: str) -> set[str]:
    """Return all code words in the first cells of the tables of a section."""
    rows = re.findall(r"^\| (.*?) \|", _section(heading), re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`([^`]*)`", row)}


def test_the_page_names_every_placeholder_and_no_other() -> None:
    named = {word.strip("{}") for word in _first_cells("Placeholders of a command")}
    assert named - {"lr", "momentum", "width"} == set(command_template.BUILT_IN)


def test_the_page_names_every_key_of_a_workload_and_no_other() -> None:
    keys = set(UserWorkloadKeys.model_fields) - {"name", "train", "command"}
    assert _first_cells("How results are read") == keys


def test_everything_that_the_page_says_of_the_context_is_there() -> None:
    named = {word.partition("(")[0] for word in _first_cells("`context`")}
    assert len(named) > 12
    instance = {"trial", "hyperparameters", "steps", "device", "data_root", "rank", "world_size"}
    assert {name for name in named if not hasattr(Context, name)} == instance
    assert all(f"`{stream}`" in _section("`context`") for stream in STREAMS)


def test_the_page_names_every_call_of_the_door() -> None:
    public = [getattr(package, name) for name in package.__all__]
    exported = {one.__name__ for one in public if one.__module__ == "thermolion.run_log"}
    called = set(re.findall(r"`thermolion\.(\w+)\(", _section("The protocol of a command")))
    assert called == exported


def test_every_verb_and_option_that_the_page_shows_exists(
    installed: Thermolion, tmp_path: Path
) -> None:
    (shown,) = _blocks("When it does not work")
    for line in shown.text.splitlines():
        _, verb, *words = line.partition("#")[0].split()
        said = installed(tmp_path, verb, "--help").stdout
        assert [word for word in words if word.startswith("--") and word not in said] == []
