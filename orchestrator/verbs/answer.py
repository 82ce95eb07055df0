"""The verbs that conclude from what is recorded: compare, report, collect."""

from argparse import Namespace

from orchestrator.study import Study
from orchestrator.verbs.terminal import DONE, opened, result


def compare(arguments: Namespace) -> int:
    """Answer the questions of the sweep from what is recorded."""
    from orchestrator.conclude import Record
    from tracking.verdict_text import verdict_text

    comparison = Record.read(opened(arguments)).compare()
    result(comparison.to_json() if arguments.json else verdict_text(comparison).rstrip())
    return DONE


def report(arguments: Namespace) -> int:
    """Write the report page."""
    from orchestrator.conclude import Record

    record = Record.read(opened(arguments))
    result(str(record.write_report(record.compare())))
    return DONE


def collect(arguments: Namespace) -> int:
    """Bring the logs into MLflow."""
    from orchestrator.conclude import Record

    collected = Record.read(opened(arguments)).collect(arguments.mlflow, arguments.break_lock)
    said = {
        "new": collected.new,
        "updated": collected.updated,
        "unchanged": collected.unchanged,
        "uri": collected.uri,
    }
    result(said if arguments.json else ", ".join(f"{v} {k}" for k, v in said.items()))
    return DONE


def conclude(study: Study, arguments: Namespace) -> None:
    """Print the verdict, write the report, fill MLflow, and say where both are."""
    from orchestrator.conclude import Record
    from tracking.verdict_text import verdict_text

    record = Record.read(study)
    comparison = record.compare()
    result(verdict_text(comparison))
    result(f"report  {record.write_report(comparison)}")
    record.collect(arguments.mlflow, arguments.break_lock)
    result(f"MLflow  {record.browse_command(arguments.mlflow)}")
