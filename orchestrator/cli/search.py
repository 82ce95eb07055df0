"""The verb `search`: settings for one candidate, without a comparison."""

from argparse import Namespace
from dataclasses import asdict

from orchestrator.cli.results import publish
from orchestrator.cli.submit import run_phases
from orchestrator.cli.terminal import Exit, check_store, load_study, print_result, say
from orchestrator.results.conclude import StudyResults
from orchestrator.submit.search import make_overrides, read_search_results


def search(arguments: Namespace) -> int:
    """Look for the settings of one candidate in a study of its own; print the best ones."""
    from tracking.report.tuning import search_text

    check_store(arguments)
    base = load_study(arguments)
    changes = make_overrides(base, arguments.candidate, arguments.trials, arguments.search)
    arguments.set = [*arguments.set, *changes]
    study = load_study(arguments)
    # What is said from now on names the study that is made, which has all of this in its folder.
    arguments.study, arguments.set = study.name, []
    arguments.backend = arguments.site = arguments.address = arguments.on = None
    status = run_phases(study, arguments)
    if status is None:
        return Exit.INTERRUPTED
    results = StudyResults.read(study)
    searches = read_search_results(study, results.outcomes)
    if arguments.json:
        rows = [{"workload": one.searched.workload} | asdict(one) for one in searches]
        print_result({"study": study.name, "found": rows})
    for one in () if arguments.json else searches:
        print_result(f"{search_text(one.searched, one.weights, one.fresh)}\n")
    if not status.unfinished:
        publish(results, results.compare(), arguments, say if arguments.json else print_result)
    return Exit.FAILED if status.unfinished else Exit.DONE
