"""The verbs that send trials: submit, run, retry, rerun."""

from argparse import Namespace
from dataclasses import replace

from jobs.contract.lock import LockHeld
from jobs.contract.quantities import quantity
from orchestrator.backends.base import backend_of
from orchestrator.cli.results import conclude
from orchestrator.cli.terminal import Exit, check_store, format_verb, load_study, print_result, say
from orchestrator.progress.selection import Selection
from orchestrator.progress.status import Status, read_status
from orchestrator.study.study import Study
from orchestrator.submit.notify import send_notices
from orchestrator.submit.submit import (
    Choose,
    SubmitResult,
    advance_unattended,
    cancel_study,
    submit_study,
)
from orchestrator.submit.writer import SendOptions
from orchestrator.sweep.document import SweepError
from orchestrator.views import plan
from orchestrator.views.status import stage_lines
from slurm.queue.pending import list_tasks
from thermolion.errors import OperationError

# How many there are, of looks and of trials that they released, and if winners are awaited.
_Decisions = tuple[int, int, bool]
_MOST_GROUPS = 3  # causes of failure that `run` tells before it points to `status`


def submit(arguments: Namespace) -> int:
    """Send what is missing and return."""
    study = load_study(arguments)
    sent = _send(study, _send_options(arguments))
    return _print_sent(study, sent, arguments)


def retry(arguments: Namespace) -> int:
    """Send what has failed again, and whatever else is selected."""
    study = load_study(arguments)
    classes, candidates = getattr(arguments, "class"), arguments.candidate
    selection = Selection(classes, candidates, arguments.workload, arguments.trial)
    options = _send_options(arguments)
    by_hand = replace(options, by_hand=True, mem=arguments.mem, time=arguments.time)
    sent = _send(study, by_hand, selection.choose)
    return _print_sent(study, sent, arguments, nothing="nothing to retry")


def rerun(arguments: Namespace) -> int:
    """Take back the results that other code has made, and send their trials again."""
    from orchestrator.submit.rerun import find_outdated, take_back

    study = load_study(arguments)
    if not arguments.code_changed:
        raise SweepError(
            "say what makes a result outdated: --code-changed, for all that other code has made "
            "(--dry-run to see which)"
        )
    if arguments.dry_run:
        outdated = find_outdated(study)
        lines = [plan.trial_line(trial_status) for trial_status in outdated.trials]
        text = "\n".join([*lines, plan.outdated_line(outdated, "would be taken back")])
        print_result(outdated.to_json() if arguments.json else text)
        return Exit.DONE
    outdated, decision = take_back(study, _send_options(arguments))
    if decision is None:
        print_result(plan.outdated_line(outdated, "to take back"))
        return Exit.DONE
    say(plan.outdated_line(outdated, f"taken back by {decision}"))
    return _print_sent(study, _send(study, _send_options(arguments)), arguments)


def run(arguments: Namespace) -> int:
    """Submit, watch, compare, report and collect."""
    check_store(arguments)
    study = load_study(arguments)
    status = run_phases(study, arguments)
    if status is None:
        return Exit.INTERRUPTED
    conclude(study, arguments)
    return Exit.FAILED if status.unfinished else Exit.DONE


def run_phases(study: Study, arguments: Namespace) -> Status | None:
    """Submit and watch, phase by phase; return the last status, None if Ctrl-C ended it."""
    from rich.console import Console

    from orchestrator.views.watch import watch

    try:
        _say_sent(study, _send(study, _send_options(arguments)), arguments)
        reported: _Decisions | None = _count_decisions(read_status(study))
        while reported is not None:
            watch(study, Console(stderr=True))
            reported = _send_next(study, reported)
        status = read_status(study)
        for failure in send_notices(study, status):
            say(f"note: {failure}")
    except KeyboardInterrupt:
        if backend_of(study.sweep.keys).survives_us:
            say(
                f"the jobs go on; take it up again with: {format_verb('run', arguments)}; "
                f"stop them with: {format_verb('cancel', arguments)}"
            )
            return None
        say("stopping: the running trials end at their next step")
        try:
            cancel_study(study)
        except OperationError as error:
            say(str(error))
        say(f"stopped; take it up again with: {format_verb('run', arguments)}")
        return None
    if status.unfinished:
        _explain_unfinished(status, arguments)
    return status


def _say_sent(study: Study, sent: SubmitResult, arguments: Namespace) -> None:
    total = len(study.trials)
    if sent.done == total:
        say(f"everything is done: {total} of {total} trials")
    elif sent.held:
        say(sent.held)
    elif sent.submissions:
        say(f"{sent.trials} of {total} trials to run, {sent.at_a_time} at a time")
    if sent.left:
        say(_describe_left(sent.left, arguments))


def _send_next(study: Study, reported: _Decisions) -> _Decisions | None:
    """Send what follows from the jobs that ended, and tell of new decisions, whoever took them.

    `reported` are the decisions that the user knows of; return those of now, or None if there is
    nothing more to watch.
    """
    before = read_status(study)
    try:
        sent = advance_unattended(study)
    except LockHeld as held:
        say(f"note: {held}")
        return reported  # its holder sends
    status = read_status(study)
    if sent is not None:
        say(f"{sent.trials} more trials to run")
    decisions = _count_decisions(status)
    if sent is not None or decisions != reported:
        for line in stage_lines(status):
            say(line)
    # The study's own job may have sent it first, or a result since may have released more.
    moved = status.jobs_alive > 0 or status.done > before.done
    return decisions if sent is not None or decisions != reported or moved else None


def _count_decisions(status: Status) -> _Decisions:
    stage = status.stage
    return len(stage.decisions), len(status.planned), stage.awaits_winners


def _send_options(arguments: Namespace) -> SendOptions:
    return SendOptions(
        data_root=arguments.data,
        download=arguments.download,
        lanes=arguments.lanes,
        break_lock=arguments.break_lock,
        accept_change=arguments.accept_change,
        new_code=arguments.new_code,
    )


def _send(study: Study, options: SendOptions, choose: Choose | None = None) -> SubmitResult:
    chosen = {} if choose is None else {"choose": choose}
    return submit_study(study, options, **chosen, tell=lambda note: say(f"note: {note}"))


def _print_sent(
    study: Study, sent: SubmitResult, arguments: Namespace, nothing: str = "nothing to send"
) -> int:
    records = [submission.to_json() for submission in sent.submissions]
    jobs, waits = _list_jobs(study, sent)
    if arguments.json:
        print_result(
            {
                "submission": records[0] if records else None,
                "submissions": records,
                "trials": sent.trials,
                "done": sent.done,
                "left": sent.left,
                "notes": list(sent.notes),
                "held": sent.held,
                "jobs": jobs,
                "waits": waits,
            }
        )
        return Exit.FAILED if sent.held else Exit.DONE
    if sent.held:
        print_result(sent.held)
        return Exit.FAILED
    if not records:
        flying = f", {sent.in_flight} under way" if sent.in_flight else ""
        print_result(f"{nothing}: {sent.done} of {len(study.trials)} trials are done{flying}")
        for line in stage_lines(read_status(study)):
            print_result(line)
    else:
        names = ", ".join(submission.id for submission in sent.submissions)
        packs = sum(submission.packs for submission in sent.submissions)
        print_result(
            f"submission {names}: {quantity(sent.trials, 'trial')} in {quantity(packs, 'pack')}, "
            f"{sent.at_a_time} at a time; look with: {format_verb('status', arguments)}"
        )
        if jobs:
            print_result(f"jobs {list_tasks(jobs)}")
        for why in waits:
            print_result(why)
    if sent.left:
        print_result(_describe_left(sent.left, arguments))
    return Exit.DONE


def _list_jobs(study: Study, sent: SubmitResult) -> tuple[list[str], list[str]]:
    """Return the ids of the jobs that were sent, of schedulers that have any, and what they say.

    Asks the scheduler once.
    """
    if not sent.submissions or not backend_of(study.sweep.keys).survives_us:
        return [], []
    status, names = read_status(study), {one.id for one in sent.submissions}
    jobs = [one.job.id for one in status.planned.values() if one.job and one.carrier in names]
    return list(dict.fromkeys(jobs)), list(status.notes)


def _describe_left(count: int, arguments: Namespace) -> str:
    command = format_verb("retry", arguments)
    return f"{count} failed or held, left alone: {command} sends them again"


def _explain_unfinished(status: Status, arguments: Namespace) -> None:
    """Say why some trials have no result, by cause, and what to do about it."""
    for paragraph in plan.describe_failures(format_verb("logs", arguments), status)[:_MOST_GROUPS]:
        say(paragraph)
    stopped = [s for s in status.unfinished if s.state not in ("failed", "held")]
    for trial_status in stopped[:_MOST_GROUPS]:
        say(plan.trial_line(trial_status))
    say(
        f"trials without a result: {len(status.unfinished)}; why: "
        f"{format_verb('status', arguments)} and {format_verb('logs', arguments)}"
    )
    if status.left_alone:
        say(f"mend it, then: {format_verb('retry', arguments)}")
