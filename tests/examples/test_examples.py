"""The examples: what it takes to put a script into a sweep, and that the sweeps run."""

import difflib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import wait_for

from jobs.contract.events import Event, read_events
from jobs.contract.layout import Layout

Thermolion = Callable[..., "subprocess.CompletedProcess[str]"]

EXAMPLES = Path(__file__).parents[2] / "examples"
CONVERTED = ("plain_pytorch", "lightning", "timm")


def _changed(before: str, after: str) -> int:
    """Return how many lines were changed, added or taken away; empty ones do not count."""
    a, b = ([line for line in text.splitlines() if line.strip()] for text in (before, after))
    codes = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in codes if tag != "equal")


@pytest.mark.parametrize("name", CONVERTED)
def test_a_script_is_put_into_a_sweep_with_at_most_ten_changed_lines(name: str) -> None:
    before, after = ((EXAMPLES / name / f"{n}.py").read_text() for n in ("before", "train"))
    assert 0 < _changed(before, after) <= 10
    assert "thermolion" not in before


def test_changed_lines_are_counted() -> None:
    assert _changed("a\nb\nc\n", "a\nx\ny\nc\n\nd\n") == 3
    assert _changed("a\nb\nc\n", "c\n") == 2


@pytest.fixture
def example(tmp_path: Path) -> Callable[[str], Path]:
    """Copy an example to where no repository is, as somebody who starts from it would."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(EXAMPLES / name, tmp_path / name))

    return copy


def _events(layout: Layout, *types: str) -> list[Event]:
    events = [event for log in sorted(layout.events.glob("*")) for event in read_events(log)]
    return [event for event in events if event.type in types]


RUNS = [
    ("any_language", None, ("loss", None), "better", []),
    ("plain_pytorch", None, ("val_accuracy", "test_accuracy"), "", []),
    ("lightning", "lightning", ("val_accuracy", "test_accuracy"), "", ["epochs=2"]),
    ("timm", "timm", ("top1", "test_top1"), "", ["epochs=1", "model=test_efficientnet"]),
]


@pytest.mark.parametrize(("name", "package", "metrics", "verdict", "options"), RUNS)
def test_an_example_runs_as_a_sweep_and_its_question_is_answered(
    name: str,
    package: str | None,
    metrics: tuple[str, str | None],
    verdict: str,
    options: list[str],
    example: Callable[[str], Path],
    request: pytest.FixtureRequest,
    need: Callable[[str], None],
    tmp_path: Path,
) -> None:
    if package is not None:
        need(package)
    # One of them as a stranger does it.
    asked = "installed" if name == "any_language" else "thermolion"
    thermolion: Thermolion = request.getfixturevalue(asked)
    folder = example(name)
    sets: list[Any] = ["--set", "seeds=2"]
    for option in options:
        sets += ["--set", f"workloads.0.options.{option}"]
    done = thermolion(folder, "run", "sweep.yaml", *sets)
    assert verdict in done.stdout
    curve, final = metrics
    assert f" in final {final or curve}" in done.stdout
    study = name.replace("_", "-")
    status = json.loads(thermolion(folder, "status", study, "--json").stdout)
    assert status["counts"]["completed"] == 4
    results = _events(Layout(tmp_path / "studies", study), "completed")
    assert len(results) == 4
    # Candidates and seeds reach the script: no two trials end alike.
    assert len({json.dumps(result.payload["metrics"]) for result in results}) == 4
    for result in results:
        assert {curve, final or curve} <= result.payload["metrics"].keys()


def test_the_function_goes_on_with_the_same_bits_where_it_was_interrupted(
    example: Callable[[str], Path], thermolion: Thermolion, tmp_path: Path
) -> None:
    folder = example("plain_pytorch")
    script = folder / "train.py"
    script.write_text(script.read_text().replace("STEPS = 600", "STEPS = 3000"))
    sweep = ("sweep.yaml", "--set", "seeds=1")
    calm = Layout(tmp_path / "calm", "plain-pytorch")
    thermolion(folder, "submit", *sweep, "--root", calm.root)
    _wait_for_both(calm)

    layout = Layout(tmp_path / "studies", "plain-pytorch")
    thermolion(folder, "submit", *sweep)
    wait_for(lambda: len(_events(layout, "evaluated")) > 5)
    thermolion(folder, "cancel", "plain-pytorch")
    assert _events(layout, "interrupted")
    thermolion(folder, "submit", *sweep)
    _wait_for_both(layout)
    assert len(_events(layout, "started")) > 2
    assert _curve(layout) == _curve(calm)
    assert len(_events(layout, "evaluated")) == 2 * 60, "a step was trained twice"
    assert _ends(layout) == _ends(calm)


def _wait_for_both(layout: Layout) -> None:
    wait_for(lambda: len(_events(layout, "completed")) == 2, 120)


def _curve(layout: Layout) -> dict[tuple[str | None, int], dict[str, float]]:
    points = _events(layout, "evaluated")
    return {(point.trial, point.payload["step"]): point.payload["metrics"] for point in points}


def _ends(layout: Layout) -> dict[str | None, dict[str, float]]:
    return {end.trial: end.payload["metrics"] for end in _events(layout, "completed")}
