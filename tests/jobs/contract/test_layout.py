"""Where things lie: decided once."""

from pathlib import Path

from jobs.contract.layout import Layout


def test_everything_of_a_study_lies_where_it_is_documented():
    layout = Layout(Path("/studies"), "s")
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
        "export": layout.export,
        "store": layout.mlflow_store,
        "artifacts": layout.mlflow_artifacts,
    } == {
        "folder": Path("/studies/s"),
        "sweep": Path("/studies/s/sweep.yaml"),
        "lock": Path("/studies/s/lock"),
        "decisions": Path("/studies/s/decisions"),
        "submission": Path("/studies/s/submissions/0001"),
        "pack": Path("/studies/s/submissions/0001/packs/3.json"),
        "output": Path("/studies/s/submissions/0001/output/3.log"),
        "events": Path("/studies/s/events/0001-3-1-0.jsonl"),
        "checkpoint": Path("/studies/s/checkpoints/abc.pt"),
        "report": Path("/studies/s/report"),
        "export": Path("/studies/s/export"),
        "store": Path("/studies/mlflow.db"),
        "artifacts": Path("/studies/mlartifacts"),
    }
