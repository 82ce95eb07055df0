"""What holds for every tracked file: it speaks of the project alone, is one noun, and explains."""

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("thermolion", "jobs", "slurm", "tracking", "orchestrator")
LONGEST_FILE = 450  # lines
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}

# Folders of a machine that something was built on; no user has them.
BUILD_MACHINE = re.compile(r"(?<![\w.~-])/(?:work|farm|root|home)/")
PACKAGE_INDEX = re.compile(r"index[-_]url", re.IGNORECASE)
# A silenced check names the check, and says why after a dash or in a comment of its own.
SILENCED = re.compile(r"#\s*(?:noqa|type:\s*ignore)\b", re.IGNORECASE)
REASONED = re.compile(
    r"#\s*(?:noqa:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*|type:\s*ignore\[[a-z, -]+\])"
    r"\s*[-#]\s*\w.{5,}"
)


def _python(tracked: list[Path]) -> list[Path]:
    paths = [path for path in tracked if path.suffix == ".py"]
    assert len(paths) > 50, "the list of tracked files is not believable"
    return paths


def _texts(repo: Path, paths: list[Path]) -> Iterator[tuple[Path, str]]:
    for path in paths:
        raw = (repo / path).read_bytes()
        if b"\0" not in raw:  # an image has no words
            yield path, raw.decode()


def _lines(repo: Path, paths: list[Path], pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()}"
        for path, text in _texts(repo, paths)
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def _unreasoned(source: str) -> list[str]:
    comments = [
        token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    return [text for text in comments if SILENCED.search(text) and not REASONED.search(text)]


def test_no_file_names_a_folder_of_the_machine_it_was_made_on(
    repo: Path, tracked: list[Path]
) -> None:
    assert _lines(repo, tracked, BUILD_MACHINE) == []


def test_no_file_says_where_packages_come_from(repo: Path, tracked: list[Path]) -> None:
    assert _lines(repo, tracked, PACKAGE_INDEX) == []


@pytest.mark.parametrize("folder", ["work", "farm", "root", "home"])
def test_a_folder_of_a_machine_is_recognised_and_a_relative_one_is_not(folder: str) -> None:
    assert BUILD_MACHINE.search(f"look in /{folder}/data")
    assert BUILD_MACHINE.search(f'"/{folder}/x"')
    assert not BUILD_MACHINE.search(f"../{folder}/data, my{folder}/, a/{folder}/b")


def test_every_module_says_what_it_is(repo: Path, tracked: list[Path]) -> None:
    modules = [path for path in _python(tracked) if path.parts[0] in PACKAGES]
    assert {path.parts[0] for path in modules} == set(PACKAGES)
    silent = [
        str(path) for path, text in _texts(repo, modules) if not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


def test_no_file_of_a_package_is_longer_than_a_concept(repo: Path, tracked: list[Path]) -> None:
    files = [path for path in tracked if path.parts[0] in PACKAGES]
    long = [
        f"{path}: {lines} lines"
        for path, text in _texts(repo, files)
        if (lines := text.count("\n")) > LONGEST_FILE
    ]
    assert long == []


def test_no_module_has_a_name_that_could_hold_anything(tracked: list[Path]) -> None:
    assert [str(path) for path in _python(tracked) if path.stem in VAGUE_NAMES] == []


def test_every_silenced_check_is_named_and_has_its_reason_beside_it(
    repo: Path, tracked: list[Path]
) -> None:
    silenced = [
        f"{path}: {comment}"
        for path, text in _texts(repo, _python(tracked))
        for comment in _unreasoned(text)
    ]
    assert silenced == []


@pytest.mark.parametrize(
    ("comment", "good"),
    [
        ("# noqa: N818 - it names a state, not a mistake", True),
        ("# noqa: ARG001, B009  # one signature for all", True),
        ("# type: ignore[call-overload]  # the stub lacks this keyword", True),
        ("# noqa", False),
        ("# noqa: E501", False),
        ("# noqa - because of the length", False),
        ("# type: ignore", False),
        ("# type: ignore[arg-type]", False),
        ("# type: ignore  # the stub lacks this keyword", False),
        ("# an ordinary comment", True),
    ],
)
def test_a_reason_is_recognised(comment: str, good: bool) -> None:
    assert (_unreasoned(f"x = 1  {comment}\n") == []) is good


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"])
def test_the_repository_introduces_itself(repo: Path, name: str, tracked: list[Path]) -> None:
    assert Path(name) in tracked
    assert len((repo / name).read_text().splitlines()) >= 10


def test_the_changelog_has_the_version_at_hand(repo: Path) -> None:
    import thermolion

    headings = re.findall(r"^## \[?([^\]\s]+)", (repo / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert "Unreleased" in headings or thermolion.__version__ in headings


def test_the_licence_of_the_package_is_the_one_in_the_repository(repo: Path) -> None:
    project = tomllib.loads((repo / "pyproject.toml").read_text())["project"]
    assert (repo / "LICENSE").read_text().startswith(f"{project['license']} License")


def test_links_of_the_introductions_lead_to_tracked_files(repo: Path, tracked: list[Path]) -> None:
    broken = []
    for path, text in _texts(repo, [path for path in tracked if path.suffix == ".md"]):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if ":" in target:
                continue
            place = (repo / path.parent / target).resolve()
            if not any(
                repo / known == place or place in (repo / known).parents for known in tracked
            ):
                broken.append(f"{path}: {target}")
    assert broken == []
