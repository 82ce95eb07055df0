"""The verbs that act on jobs: cancel, hold, release; of a study, or of a selection."""

from argparse import Namespace

from jobs.contract.quantities import are, quantity
from orchestrator.backends.base import backend_of
from orchestrator.cli.terminal import Exit, load_study, print_result, say
from orchestrator.progress.selection import SelectedJobs, Selection, choose_jobs
from orchestrator.study.study import Study
from orchestrator.submit.submit import cancel_study, release_stopped, send_remaining
from thermolion.errors import OperationError


def cancel(arguments: Namespace) -> int:
    """Stop the jobs of a study cleanly: running trials save and end at their next step."""
    study = load_study(arguments)
    if not (arguments.candidate or arguments.workload or arguments.trial):
        stopped = cancel_study(study)
        what = f"{quantity(stopped, 'submission')} stopped"
        print_result(what if stopped else "no job of this study is alive")
        return Exit.DONE
    jobs = _jobs(study, arguments)
    out_of_reach: OperationError | None = None
    for submission, packs in jobs.packs:
        try:
            backend_of(submission).cancel(study.layout, submission, packs)
        except OperationError as error:
            out_of_reach = error
    if out_of_reach is not None:
        raise out_of_reach
    print_result(f"{quantity(jobs.count, 'job')} stopped")
    return Exit.DONE


def hold(arguments: Namespace) -> int:
    """Keep jobs that have not started from starting."""
    study = load_study(arguments)
    _hold(study, _jobs(study, arguments), True, "held; thermolion release lets them go")
    return Exit.DONE


def release(arguments: Namespace) -> int:
    """Let held jobs start."""
    study = load_study(arguments)
    jobs = _jobs(study, arguments)
    sent = release_stopped(study, _selection(arguments).match_planned(study))
    if sent:
        trials = f"{quantity(sent, 'trial')} {are(sent)}"
        print_result(f"{trials} sent again, whose jobs somebody had cancelled")
    if jobs.count or not sent:
        _hold(study, jobs, False, "released")
    # While they were held, the job that sends the rest had nothing to send, and has ended.
    send_remaining(study)
    return Exit.DONE


def _hold(study: Study, jobs: SelectedJobs, held: bool, outcome: str) -> None:
    count = sum(
        backend_of(submission).hold(study.layout, submission, packs, held)
        for submission, packs in jobs.packs
    )
    if jobs.count:
        rest = jobs.count - count if held else 0
        others = "run, or are not in the queue yet: those are held with the whole study alone"
        more = f"; {rest} others {others}" if rest else ""
        print_result(f"{quantity(count, 'job')} {outcome}{more}")
    else:
        print_result("no job of this study is alive")


def _selection(arguments: Namespace) -> Selection:
    return Selection((), arguments.candidate, arguments.workload, arguments.trial)


def _jobs(study: Study, arguments: Namespace) -> SelectedJobs:
    jobs = choose_jobs(study, _selection(arguments))
    if jobs.shared:
        say(f"{len(jobs.shared)} of these trials share a job with others: these are left alone")
    return jobs
