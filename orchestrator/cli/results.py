"""The verbs that conclude from what is recorded: compare, report, collect, export."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.terminal import (
    DONE,
    INTERRUPTED,
    format_command,
    load_study,
    print_result,
    require_store,
    say,
)
from orchestrator.study.study import Study, default_root, open_study
from orchestrator.sweep.document import SweepError

if TYPE_CHECKING:
    from orchestrator.results.conclude import StudyResults
    from orchestrator.results.cross_study import ComparisonInput
    from tracking.compare.result import Comparison
    from tracking.mlflow_store.collect import Collected


def compare(arguments: Namespace) -> int:
    """Answer the questions of a sweep, of two studies, or of the runs of an MLflow experiment."""
    from tracking.report.terminal import verdict_text

    gathered = _gathered(arguments)
    comparison = gathered.compare()
    page = _page(gathered, comparison, arguments)
    said = comparison.to_json() if arguments.json else verdict_text(comparison).rstrip()
    print_result(said)
    if page is not None:
        say(f"report  {page}")
    return DONE


def _gathered(arguments: Namespace) -> "StudyResults | ComparisonInput":
    from orchestrator.results.conclude import StudyResults
    from orchestrator.results.cross_study import pair_studies, read_experiment

    studies = arguments.studies
    if arguments.experiment is not None or (arguments.mlflow is not None and not studies):
        if studies:
            raise SweepError(f"--experiment stands alone: leave out {' '.join(studies)}")
        return read_experiment(arguments, (arguments.root or default_root()).absolute())
    if not 1 <= len(studies) <= 2:
        raise SweepError(
            f"{len(studies)} studies: name one or two, or an MLflow experiment (--experiment)"
        )
    opened_ones = [open_study(name, arguments.root, arguments.set) for name in studies]
    return StudyResults.read(opened_ones[0]) if len(studies) == 1 else pair_studies(*opened_ones)


def _page(
    gathered: "StudyResults | ComparisonInput", comparison: "Comparison", arguments: Namespace
) -> Path | None:
    if arguments.report is None:
        return None
    from tracking.report.page import write_report

    return write_report(comparison, gathered.outcomes, arguments.report)


def report(arguments: Namespace) -> int:
    """Write the report page."""
    from orchestrator.results.conclude import StudyResults

    record = StudyResults.read(load_study(arguments))
    print_result(str(record.write_report(record.compare())))
    return DONE


def collect(arguments: Namespace) -> int:
    """Bring the logs into MLflow, once or for as long as jobs live."""
    from orchestrator.results.conclude import StudyResults

    require_store(arguments)
    study = load_study(arguments)
    if arguments.follow:
        return _follow(study, arguments)
    how = (arguments.mlflow, arguments.break_lock, arguments.restore)
    collected = StudyResults.read(study).collect(*how, checkpoints=arguments.checkpoints)
    _tell(collected, arguments)
    return DONE


def _follow(study: Study, arguments: Namespace) -> int:
    from orchestrator.results.conclude import CollectFailure, keep_collecting

    last = None
    try:
        how = (arguments.mlflow, arguments.break_lock, arguments.restore)
        for said in keep_collecting(study, *how, checkpoints=arguments.checkpoints):
            if isinstance(said, CollectFailure):
                say(f"{said.message}\ntrying again in {said.pause_s:.0f} s; Ctrl-C ends it")
                continue
            if last is None or said.new or said.updated:
                _tell(said, arguments)
            last = said
    except KeyboardInterrupt:
        say(f"ended; go on with: {format_command('collect', arguments)} --follow")
        return INTERRUPTED
    say("no job of it lives any more: everything is there")
    return DONE


def _tell(collected: "Collected", arguments: Namespace) -> None:
    said = {
        "new": collected.new,
        "updated": collected.updated,
        "unchanged": collected.unchanged,
        "uri": collected.uri,
    }
    line = json.dumps(said) if arguments.follow else said
    print_result(line if arguments.json else ", ".join(f"{v} {k}" for k, v in said.items()))


def export(arguments: Namespace) -> int:
    """Write trials and curves for other tools, and say where."""
    from orchestrator.results.conclude import StudyResults

    study = load_study(arguments)
    folder = (arguments.to or study.layout.export / arguments.format).absolute()
    written = StudyResults.read(study).export(folder, arguments.format)
    if arguments.json:
        print_result({"folder": str(folder), "written": [str(path) for path in written]})
    elif arguments.format == "tensorboard":
        print_result(
            f"{len(written)} trials below {folder}; look with: tensorboard --logdir {folder}"
        )
    else:
        print_result("\n".join(map(str, written)))
    return DONE


def conclude(study: Study, arguments: Namespace) -> None:
    """Print the verdict, write the report, fill MLflow, and say where both are."""
    from orchestrator.results.conclude import StudyResults
    from tracking.report.terminal import verdict_text

    record = StudyResults.read(study)
    comparison = record.compare()
    print_result(verdict_text(comparison))
    publish(record, comparison, arguments)


def publish(
    record: "StudyResults",
    comparison: "Comparison",
    arguments: Namespace,
    tell: Callable[[str], None] = print_result,
) -> None:
    """Write the report, fill MLflow, and say where both are."""
    tell(f"report  {record.write_report(comparison)}")
    collected = record.collect(arguments.mlflow, arguments.break_lock, comparison=comparison)
    tell(f"MLflow  {collected.uri}; look with: {format_command('ui', arguments)}")
