"""The site: it is built without a warning, and says all that the code knows."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.main import command_line
from orchestrator.sweep.schema import cli_reference, sweep_reference, sweep_schema

REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site; a broken link or anchor is an error."""
    folder = tmp_path_factory.mktemp("site")
    build = ["-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run([sys.executable, *build], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_of_the_folder_is_on_the_site(site: Path) -> None:
    written = {path.stem for path in (REPO / "docs").glob("*.md")}
    there = {path.stem for path in site.glob("*.html")}
    assert written <= there
    assert {"cli", "sweep-reference", "examples", "benchmarks", "changelog"} <= there


def test_every_file_that_a_page_needs_is_on_the_site(site: Path) -> None:
    absent = []
    for page in site.glob("*.html"):
        if page.stem == "404":  # it may be shown for any address: its links begin at the root
            continue
        for target in re.findall(r'(?:href|src)="([^"#?]+)[^"]*"', page.read_text()):
            if ":" not in target and not (site / target).exists():
                absent.append(f"{page.name}: {target}")
    assert sorted(set(absent)) == []


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    fetched = re.compile(r'<(?:script|img)[^>]+src="https?:|<link[^>]+href="https?:')
    assert [page.name for page in site.glob("*.html") if fetched.search(page.read_text())] == []


def test_the_reference_has_every_verb_and_every_option() -> None:
    parser = command_line()
    text = cli_reference(parser)
    (verbs,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == list(verbs.choices)
    for verb in verbs.choices.values():
        for option in verb._option_string_actions:
            assert option in ("-h", "--help") or f"`{option}`" in text


def test_the_reference_has_every_key_of_a_sweep() -> None:
    text, schema = sweep_reference(), sweep_schema()
    parts = [schema, *schema["$defs"].values()]
    for key in {key for part in parts for key in part.get("properties", {})}:
        assert f"| `{key}` |" in text or key == "each", key


@pytest.mark.parametrize("page", ["docs/design.md", "docs/extending.md", "CONTRIBUTING.md"])
def test_every_file_of_ours_that_a_page_names_exists(page: str) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True).stdout
    tracked = "".join(f"/{name}\n" for name in listed.splitlines())
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", (REPO / page).read_text()))
    assert named
    assert [name for name in named if f"/{name}" not in tracked] == []
