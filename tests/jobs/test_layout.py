"""Where things lie: decided once."""

from pathlib import Path

from jobs.layout import Layout


def test_everything_of_a_study_lies_where_it_is_documented():
    layout = Layout(Path("/root"), "s")
    assert {
        "folder": layout.folder,
        "sweep": layout.sweep,
        "lock": layout.lock,
        "decisions": layout.decisions,
        "submission": layout.submission("0001"),
        "pack": layout.pack("0001", 3),
        "output": layout.job_output("0001", 3),
        "events": layout.event_log("0001", 3, 1, 0),
        "checkpoint": layout.checkpoint("abc"),
        "report": layout.report,
        "store": layout.mlflow_store,
        "artifacts": layout.mlflow_artifacts,
    } == {
        "folder": Path("/root/s"),
        "sweep": Path("/root/s/sweep.yaml"),
        "lock": Path("/root/s/lock"),
        "decisions": Path("/root/s/decisions"),
        "submission": Path("/root/s/submissions/0001"),
        "pack": Path("/root/s/submissions/0001/packs/3.json"),
        "output": Path("/root/s/submissions/0001/output/3.log"),
        "events": Path("/root/s/events/0001-3-1-0.jsonl"),
        "checkpoint": Path("/root/s/checkpoints/abc.pt"),
        "report": Path("/root/s/report"),
        "store": Path("/root/mlflow.db"),
        "artifacts": Path("/root/mlartifacts"),
    }
