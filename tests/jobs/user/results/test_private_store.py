"""Results read from the MLflow runs of a script, which go into a store of its trial alone."""

import math
from pathlib import Path

import pytest
from commands import Study, curve, failure
from mlflow import MlflowClient
from script_results import points, run
from warm_python import copied_store

from jobs.contract.workloads.workload import MetricSpec

SOURCE = {"logger": "mlflow"}
# As MLflow's SQLite stores have them; the last test of this file runs MLflow itself.
STORE = """\
import os, sqlite3
assert "MLFLOW_RUN_ID" not in os.environ
database = sqlite3.connect(os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///"))
database.execute("CREATE TABLE runs (run_uuid, lifecycle_stage)")
database.execute("CREATE TABLE metrics (run_uuid, key, value, step, is_nan)")
for run, stage in (("a", "active"), ("b", "deleted"), ("c", "active")):
    database.execute("INSERT INTO runs VALUES (?, ?)", (run, stage))
for row in {rows!r}:
    database.execute("INSERT INTO metrics VALUES (?, ?, ?, ?, ?)", row)
database.commit()
"""


def storing(*rows: tuple[str, str, float, int, int]) -> str:
    return STORE.format(rows=list(rows))


def test_the_metrics_of_active_runs_are_the_curve_and_the_store_is_removed(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)  # of the shell that the sweep was sent from
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")
    rows = [("a", "acc", 0.25, 1, 0), ("b", "acc", 0.9, 1, 0), ("a", "acc", 0.5, 2, 0)]
    machine = ("a", "system/cpu", 50.0, 1, 0)
    events = run(study, storing(*rows, machine), SOURCE)
    assert curve(events) == {1: {"acc": 0.25}, 2: {"acc": 0.5}}
    assert list(study.layout.checkpoints.glob("*")) == []


@pytest.mark.parametrize(
    ("stored", "is_nan"), [(0.0, 1), (1.7976931348623157e308, 0), (-1.7976931348623157e308, 0)]
)
def test_what_a_store_has_for_values_that_are_not_finite_is_a_divergence(
    study: Study, stored: float, is_nan: int
) -> None:
    events = run(study, storing(("a", "acc", 0.5, 1, 0), ("a", "acc", stored, 2, is_nan)), SOURCE)
    assert events[-1].type == "diverged"
    assert "at step 2" in events[-1].payload["error"]


def test_values_without_steps_are_counted(study: Study) -> None:
    rows = [("a", "acc", value, 0, 0) for value in (0.1, 0.2, 0.3)]
    once = ("a", "best", 0.9, 0, 0)
    events = run(study, storing(*rows, once), SOURCE, spec=MetricSpec("acc", "best"))
    assert curve(events)[3] == {"acc": 0.3}
    assert events[-1].payload["metrics"] == {"acc": 0.3, "best": 0.9}


def test_two_runs_that_disagree_are_one_error(study: Study) -> None:
    script = storing(("a", "acc", 0.25, 1, 0), ("c", "acc", 0.5, 1, 0))
    kind, error = failure(run(study, script, SOURCE))
    assert kind == "UnreadResults"
    assert "two values of acc at step 1: 0.25 in run a of " in error
    assert "0.5 in run c of " in error


FILES = """\
import pathlib
run = pathlib.Path("outputs/mlruns/0/a")
(run / "metrics" / "val").mkdir(parents=True)
(run / "meta.yaml").write_text("")
(run / "metrics" / "val" / "acc").write_text({text!r})
pathlib.Path("metrics").mkdir()
pathlib.Path("metrics", "note").write_text("none of MLflow's")
"""


def test_a_store_of_files_that_the_script_chose_is_read(study: Study) -> None:
    spec = MetricSpec("val/acc")
    good = FILES.format(text="1700 0.25 1\n1701 0.5 2\n")
    assert curve(run(study, good, SOURCE, spec=spec)) == {
        1: {"val/acc": 0.25},
        2: {"val/acc": 0.5},
    }


def test_a_file_that_is_no_metric_is_one_error_with_its_line(study: Study) -> None:
    script = FILES.format(text="1700 0.25 1\n1701 0.5\n")
    kind, error = failure(run(study, script, SOURCE, spec=MetricSpec("val/acc")))
    assert kind == "UnreadResults"
    assert "mlruns/0/a/metrics/val/acc:2 is no value of MLflow" in error


@pytest.mark.parametrize(
    ("script", "needle"),
    [
        ("print('none')", "it has logged no metric to MLflow"),
        (storing(("a", "accuracy", 0.5, 1, 0)), "its MLflow runs have no 'acc', they have accur"),
    ],
)
def test_a_metric_that_was_not_logged_is_one_error(study: Study, script: str, needle: str) -> None:
    kind, error = failure(run(study, script, SOURCE))
    assert kind == "UnreadResults"
    assert needle in error


UNREAD = """\
import os, pathlib, sqlite3, sys
uri = os.environ["MLFLOW_TRACKING_URI"]
open(sys.argv[1], "a").write(uri + "\\n")
if uri.startswith("sqlite"): sqlite3.connect(uri[10:]).execute("CREATE TABLE runs (run_uuid)")
"""


def test_a_script_whose_runs_are_not_read_ends_no_other_by_them(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.write("train.py", UNREAD)
    for _ in range(2):
        kind, error = failure(study.run(f"python train.py {tmp_path}/stores"))
        assert kind == "NothingLogged"
        assert "such as `results: mlflow`, to which it has logged" in error
    stores = (tmp_path / "stores").read_text().split()
    assert len(set(stores)) == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://my-server")  # it may log where it likes
    _, error = failure(study.run(f"python train.py {tmp_path}/stores"))
    assert (tmp_path / "stores").read_text().split()[-1] == "http://my-server"
    assert "results: {lines: 'PATTERN'}" in error


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_what_mlflow_itself_has_stored_is_read(study: Study, tmp_path: Path) -> None:
    database = tmp_path / "made.db"
    copied_store(tmp_path / "empty.db")(database)
    client = MlflowClient(f"sqlite:///{database}")
    run_id = client.create_run("0").info.run_id
    for step in (1, 2):
        client.log_metric(run_id, "acc", step / 4, step=step)
    client.log_metric(run_id, "bad", math.inf, step=1)
    client.log_metric(run_id, "worse", math.nan, step=1)
    script = (
        "import os, shutil\n"
        f"shutil.copy({str(database)!r}, os.environ['MLFLOW_TRACKING_URI'][len('sqlite:///') :])\n"
    )
    events = run(study, script, SOURCE)
    assert points(events, "acc") == {1: 0.25, 2: 0.5}
    final = events[-1].payload["metrics"]
    assert (final["bad"], str(final["worse"])) == (math.inf, "nan")
