"""Scripts in the form of well-known examples, which know nothing of us, in sweeps of few lines."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
from processes import wait_for

from jobs.contract.events import Event, read_events

Thermolion = Callable[..., "subprocess.CompletedProcess[str]"]

FOLDER = Path(__file__).parents[2] / "examples" / "as_they_are"
# The packages that a script needs, the metric of its sweep, how many points a curve has, settings.
SCRIPTS: dict[str, tuple[tuple[str, ...], str, int, tuple[str, ...]]] = {
    "mnist_loop": ((), "test_loss", 5, ()),
    "argparse_csv": ((), "eval_top1", 8, ()),
    "hydra": (("hydra",), "val_acc", 6, ()),
    "hf_trainer": (
        ("transformers", "accelerate"),
        "eval_accuracy",
        1,
        ("workloads.0.options.num_train_epochs=1",),
    ),
    "lightning_cli": (("lightning", "jsonargparse"), "val_acc", 5, ()),
    "mlflow_logging": (("mlflow",), "val_accuracy", 10, ()),
    "shell": ((), "accuracy", 3, ()),
}


def test_there_is_a_script_of_every_form() -> None:
    assert {path.name for path in FOLDER.iterdir() if path.is_dir()} == SCRIPTS.keys()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_compared_as_it_is_by_at_most_twelve_lines(
    name: str, thermolion: Thermolion, need: Callable[[str], None], tmp_path: Path
) -> None:
    packages, metric, points, settings = SCRIPTS[name]
    for package in packages:
        need(package)
    folder = copytree(FOLDER / name, tmp_path / name)
    for path in folder.rglob("*"):
        assert path.is_dir() or path.name == "sweep.yaml" or "thermolion" not in path.read_text()
    assert len((folder / "sweep.yaml").read_text().splitlines()) <= 12
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    sets = [word for setting in ("seeds=1", *settings) for word in ("--set", setting)]
    study, verb = name.replace("_", "-"), "run" if name == "argparse_csv" else "submit"
    done = thermolion(folder, verb, "sweep.yaml", *sets)
    events = tmp_path / "studies" / study / "events"
    wait_for(lambda: sum(event.type == "completed" for event in _read(events)) == 2, 120)

    status = json.loads(thermolion(folder, "status", study, "--json").stdout)
    assert status["counts"] == {"completed": 2}
    one, other = (trial["metrics"] for trial in status["trials"])
    assert one != other, "candidates do not reach the script"
    assert metric in one
    if verb == "run":
        assert f"final {metric}" in done.stdout
    curves: dict[str | None, set[int]] = {}
    for event in _read(events):
        if event.type == "evaluated" and metric in event.payload["metrics"]:
            curves.setdefault(event.trial, set()).add(event.payload["step"])
    assert [len(steps) for steps in curves.values()] == [points, points]
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def _read(events: Path) -> list[Event]:
    return [event for log in sorted(events.glob("*.jsonl")) for event in read_events(log)]
