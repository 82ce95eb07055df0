"""The verbs that conclude from what is recorded: compare, report, collect, export."""

import json
import shlex
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.cli.terminal import Exit, check_store, format_verb, load_study, print_result, say
from orchestrator.results.asked import Asked
from orchestrator.results.comparison_input import ComparisonInput
from orchestrator.results.conclude import CollectFailure, StudyResults, keep_collecting
from orchestrator.results.cross_study import pair_studies
from orchestrator.results.foreign_runs import read_foreign
from orchestrator.study.study import Study, default_root, open_study
from orchestrator.sweep.document import SweepError

if TYPE_CHECKING:
    from tracking.compare.result import Comparison
    from tracking.mlflow_store.collect import Collected, Collector


def compare(arguments: Namespace) -> int:
    """Answer the questions of a sweep, of two studies, or of runs of other tools."""
    from tracking.report.terminal import verdict_text

    if arguments.close_look:
        _close_look(arguments)
    compared = _read_compared(arguments)
    comparison = compared.compare()
    page = None
    if arguments.report is not None:
        from tracking.report.page import write_report

        # First: printing fails if the reader of our output has left (`| head`).
        page = write_report(comparison, compared.shown, arguments.report)
    print_result(comparison.to_json() if arguments.json else verdict_text(comparison).rstrip())
    if page is not None:
        say(f"report  {page}")
    return Exit.DONE


def _read_compared(arguments: Namespace) -> StudyResults | ComparisonInput:
    studies = arguments.studies
    sources = ("experiment", "csv", "tensorboard", *(() if studies else ("mlflow",)))
    named = [f"--{name}" for name in sources if getattr(arguments, name) is not None]
    if named:
        if studies:
            raise SweepError(f"{named[0]} stands alone: leave out {' '.join(studies)}")
        if arguments.set:
            raise SweepError(
                f"--set {arguments.set[0]} edits a sweep, and {named[0]} names runs that have "
                "none: leave it out"
            )
        return read_foreign(arguments, (arguments.root or default_root()).absolute())
    if not 1 <= len(studies) <= 2:
        raise SweepError(
            f"{len(studies)} studies: name one or two, or runs of other tools (--experiment, "
            "--csv, --tensorboard)"
        )
    asked = Asked.parse(arguments)
    opened = [open_study(name, arguments.root, arguments.set) for name in studies]
    if len(studies) == 2:
        paired = pair_studies(*opened)
        return paired if asked is None else paired.ask(asked)
    results = StudyResults.read(opened[0])
    return results if asked is None else results.ask(asked)


def _close_look(arguments: Namespace) -> None:
    """End the present look of a study with trials missing."""
    from orchestrator.submit.close_look import close_look

    if len(arguments.studies) != 1 or arguments.experiment is not None:
        raise SweepError("--close-look ends a look of one study: name that study alone")
    say(close_look(open_study(arguments.studies[0], arguments.root, arguments.set)))


def report(arguments: Namespace) -> int:
    """Write the report page."""
    results = StudyResults.read(load_study(arguments))
    print_result(str(results.write_report(results.compare(), _list_hours(results))))
    return Exit.DONE


def _list_hours(results: StudyResults) -> list[tuple[str, str, str]]:
    """Return what a study has taken of CPUs and GPUs, as rows of its report."""
    from orchestrator.progress.hours import read_hours
    from orchestrator.progress.status import read_status
    from orchestrator.views.hours import report_rows

    return report_rows(read_hours(results.study, read_status(results.study)))


def collect(arguments: Namespace) -> int:
    """Bring the logs into MLflow, once or for as long as jobs live."""
    check_store(arguments)
    from tracking.mlflow_store.collect import Collector

    study = load_study(arguments)
    collector = Collector(study.layout, arguments.mlflow, arguments.restore, arguments.checkpoints)
    if arguments.follow:
        return _follow(study, collector, arguments)
    results = StudyResults.read(study)
    comparison = results.compare_if_possible()
    _print_collected(results.collect(collector, comparison, arguments.break_lock), arguments)
    return Exit.DONE


def _follow(study: Study, collector: "Collector", arguments: Namespace) -> int:
    is_first = True
    try:
        for one in keep_collecting(study, collector, arguments.break_lock):
            if isinstance(one, CollectFailure):
                say(f"{one.message}\ntrying again in {one.pause_s:.0f} s; Ctrl-C ends it")
                continue
            if is_first or one.new or one.updated:
                _print_collected(one, arguments)
            is_first = False
    except KeyboardInterrupt:
        say(f"ended; go on with: {format_verb('collect', arguments)} --follow")
        return Exit.INTERRUPTED
    say("no job of it lives any more: everything is there")
    return Exit.DONE


def _print_collected(collected: "Collected", arguments: Namespace) -> None:
    record = {key: getattr(collected, key) for key in ("new", "updated", "unchanged", "uri")}
    line = json.dumps(record) if arguments.follow else record
    print_result(line if arguments.json else ", ".join(f"{v} {k}" for k, v in record.items()))


def export(arguments: Namespace) -> int:
    """Write trials and curves for other tools, and say where."""
    study = load_study(arguments)
    folder = (arguments.to or study.layout.export / arguments.format).absolute()
    written = StudyResults.read(study).export(folder, arguments.format)
    if arguments.json:
        print_result({"folder": str(folder), "written": [str(path) for path in written]})
    elif arguments.format == "tensorboard":
        print_result(
            f"{len(written)} trials below {folder}; look with: "
            f"tensorboard --logdir {shlex.quote(str(folder))}"
        )
    else:
        print_result("\n".join(map(str, written)))
    return Exit.DONE


def conclude(study: Study, arguments: Namespace) -> None:
    """Print the verdict, write the report, fill MLflow, and say where both are."""
    from tracking.report.terminal import verdict_text

    results = StudyResults.read(study)
    comparison = results.compare()
    print_result(verdict_text(comparison))
    publish(results, comparison, arguments)


def publish(
    results: StudyResults,
    comparison: "Comparison",
    arguments: Namespace,
    tell: Callable[[str], None] = print_result,
) -> None:
    """Write the report, fill MLflow, and `tell` where both are."""
    from tracking.mlflow_store.collect import Collector

    tell(f"report  {results.write_report(comparison, _list_hours(results))}")
    collector = Collector(results.study.layout, arguments.mlflow)
    collected = results.collect(collector, comparison, arguments.break_lock)
    tell(f"MLflow  {collected.uri}; look with: {format_verb('ui', arguments)}")
