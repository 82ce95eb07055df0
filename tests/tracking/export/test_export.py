"""What `export` writes, read back by the tools that it is for."""

import csv
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from tracking.export.export import ExportError, export
from tracking.outcomes import Outcome

Make = Callable[..., Outcome]

# Read as TensorBoard reads, in a process of its own: it warns about its own dependencies.
_READ = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]).Reload()
print(json.dumps({
    tag: [[one.wall_time, one.step, one.value] for one in events.Scalars(tag)]
    for tag in events.Tags()["scalars"]
}))
"""


def _tensorboard(run: Path) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", _READ, run], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout)
    return read


@pytest.fixture
def begun(outcome: Make) -> list[Outcome]:
    """One trial that has ended, one that has diverged, one that runs, one that waits."""
    made = [
        outcome("adamw[lr=0.1]"),
        outcome("lion", state="diverged", curve=[(0, 0.1), (10, math.nan)]),
        outcome("lion", block=1, state="running"),
        outcome("lion", block=2, state="waiting"),
    ]
    return [
        one if one.state == "waiting" else replace(one, started_ms=1_700_000_000_000)
        for one in made
    ]


def test_tables_have_a_row_a_trial_and_a_row_an_evaluation(
    begun: list[Outcome], tmp_path: Path
) -> None:
    for form in ("csv", "parquet"):
        written = export(begun, tmp_path / form, form)
        assert [path.name for path in written] == [f"trials.{form}", f"curves.{form}"]
    trials = parquet.read_table(tmp_path / "parquet/trials.parquet").to_pylist()
    assert [row["state"] for row in trials] == ["completed", "diverged", "running", "waiting"]
    assert trials[0]["params.lr"] == 0.001
    assert trials[0]["metrics.test_accuracy"] == 0.9
    assert trials[0]["final_test_accuracy_pct"] == pytest.approx(90)
    assert trials[0]["seed_init"] == begun[0].trial.seeds["init"]
    assert trials[3]["started"] is None
    assert trials[0]["started"].isoformat() == "2023-11-14T22:13:20+00:00"

    curves = parquet.read_table(tmp_path / "parquet/curves.parquet").to_pylist()
    first = [row for row in curves if row["trial"] == begun[0].trial.id]
    assert [(row["step"], row["val_accuracy"]) for row in first] == [
        (point.step, point.metrics["val_accuracy"]) for point in begun[0].curve
    ]
    with (tmp_path / "csv/curves.csv").open(newline="") as file:
        said = list(csv.DictReader(file))
    assert [float(row["train_loss"] or "nan") for row in said] == pytest.approx(
        [math.nan if row["train_loss"] is None else row["train_loss"] for row in curves],
        nan_ok=True,
    )
    assert said[0]["time"] == "2023-11-14 22:13:20+00:00"


def test_a_metric_that_is_named_as_a_column_keeps_both(outcome: Make, tmp_path: Path) -> None:
    made = outcome()
    curve = tuple(replace(point, metrics={"step": 0.5}) for point in made.curve)
    export([replace(made, curve=curve)], tmp_path, "parquet")
    row = parquet.read_table(tmp_path / "curves.parquet").to_pylist()[-1]
    assert (row["step"], row["metrics.step"]) == (40, 0.5)


def test_a_metric_of_large_integers_and_fractions_is_a_column_of_floats(
    outcome: Make, tmp_path: Path
) -> None:
    values = [2**53 + 2, 2**63, 0.5]
    points = zip(outcome().curve, values, strict=False)
    curve = tuple(replace(point, metrics={"tokens": value}) for point, value in points)
    export([replace(outcome(), curve=curve)], tmp_path, "parquet")
    table = parquet.read_table(tmp_path / "curves.parquet")
    assert table.column("tokens").to_pylist() == [float(value) for value in values]


def test_exporting_again_writes_the_same_bytes_and_leaves_no_old_table(
    begun: list[Outcome], tmp_path: Path
) -> None:
    for form in ("csv", "parquet", "tensorboard"):
        export(begun, tmp_path, form)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(before) == 2 + 2 + 3
    for form in ("csv", "parquet", "tensorboard"):
        export(begun, tmp_path, form)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert [path.name for path in export(begun[3:], tmp_path, "csv")] == ["trials.csv"]
    assert not (tmp_path / "curves.csv").exists()


def test_tensorboard_reads_every_curve_of_every_trial_that_has_begun(
    begun: list[Outcome], tmp_path: Path
) -> None:
    runs = export(begun, tmp_path, "tensorboard")
    assert [str(run.relative_to(tmp_path)) for run in runs] == [
        "digits/adamw lr:0.1/block 0",
        "digits/lion/block 0",
        "digits/lion/block 1",
    ]
    read = _tensorboard(runs[0])
    expected = [
        [point.time_ms / 1000, point.step, pytest.approx(point.metrics["val_accuracy"])]
        for point in begun[0].curve
    ]
    assert read["val_accuracy"] == expected
    assert read["final/test_accuracy"][0][1:] == [40, pytest.approx(0.9)]
    assert math.isnan(_tensorboard(runs[1])["val_accuracy"][1][2])


def test_large_steps_long_names_and_huge_values_are_read_back(
    outcome: Make, tmp_path: Path
) -> None:
    made = outcome()
    said = {"a" * 300: 1.5, "größe": 1e300}
    point = replace(made.curve[0], time_ms=2000, step=2**40, metrics=said)
    export([replace(made, started_ms=1000, curve=(point,))], tmp_path, "tensorboard")
    (run,) = (path.parent for path in tmp_path.rglob("*tfevents*"))
    read = _tensorboard(run)
    assert read["a" * 300] == [[2.0, 2**40, 1.5]]
    assert read["größe"] == [[2.0, 2**40, math.inf]]


def test_a_format_that_is_none_is_named_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"'xlsx'.*parquet, csv, tensorboard"):
        export([], tmp_path, "xlsx")


@pytest.mark.parametrize(
    ("package", "form", "extra"),
    [("pyarrow", "parquet", "tracking"), ("tensorboard", "tensorboard", "tensorboard")],
)
def test_without_the_package_of_a_format_the_extra_and_another_format_are_named(
    begun: list[Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    form: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=rf"{package}.*thermolion\[{extra}\].*--format csv"):
        export(begun, tmp_path, form)
    assert not list(tmp_path.iterdir())
    assert export(begun, tmp_path, "csv")
