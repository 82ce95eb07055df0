"""The verbs of the command line: one function each, which prints and returns the exit code.

Heavy modules are imported by the verb that needs them, so that `plan` stays quick.
"""

import json
import shlex
import sys
from argparse import Namespace
from typing import Any

from orchestrator import describe
from orchestrator.backends.base import BackendError
from orchestrator.estimate import estimate
from orchestrator.packs import make_packs
from orchestrator.status import read_status
from orchestrator.study import Study, open_study

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


def plan(arguments: Namespace) -> int:
    """Say what would run, without starting anything."""
    from orchestrator.advance import lanes_here

    study = _open(arguments)
    status = read_status(study)
    missing = status.missing
    lanes = arguments.lanes or lanes_here(study)
    packs = make_packs(missing, lanes, status.lost)
    left = estimate(status.outcomes, lanes, study.sweep.device)
    say = describe.plan_json if arguments.json else describe.plan_text
    _result(say(study, status, packs, lanes, left))
    return DONE


def submit(arguments: Namespace) -> int:
    """Send what is missing and return."""
    from orchestrator.advance import submit as send

    study = _open(arguments)
    sent = send(study, arguments.data, arguments.download, arguments.lanes, arguments.break_lock)
    submission = sent.submission
    if arguments.json:
        record = None if submission is None else submission.to_json()
        _result({"submission": record, "trials": sent.trials, "done": sent.done})
    elif submission is None:
        flying = f", {sent.in_flight} under way" if sent.in_flight else ""
        _result(f"nothing to send: {sent.done} of {len(study.trials)} trials are done{flying}")
    else:
        _result(
            f"submission {submission.id}: {sent.trials} trials in {submission.packs} packs, "
            f"{submission.lanes} at a time; look with: {_again('status', arguments)}"
        )
    return DONE


def run(arguments: Namespace) -> int:
    """Submit, watch, compare, report and collect."""
    from orchestrator.conclude import require_tracking

    require_tracking()
    from rich.console import Console

    from orchestrator.advance import cancel as stop
    from orchestrator.advance import submit as send
    from orchestrator.watch import watch

    study = _open(arguments)
    total = len(study.trials)
    try:
        sent = send(
            study, arguments.data, arguments.download, arguments.lanes, arguments.break_lock
        )
        if sent.done == total:
            _say(f"everything is done: {total} of {total} trials")
        elif sent.submission is not None:
            _say(f"{sent.trials} of {total} trials to run, {sent.submission.lanes} at a time")
        status = watch(study, Console(stderr=True))
    except KeyboardInterrupt:
        _say("stopping: the running trials end at their next step")
        try:
            stop(study)
        except BackendError as error:
            _say(str(error))
        _say(f"stopped; take it up again with: {_again('run', arguments)}")
        return INTERRUPTED
    for standing in status.missing_standings[:3]:
        _say(describe.trial_line(standing))
    if status.missing:
        count = len(status.missing)
        _say(f"trials without a result: {count}; why: {_again('logs', arguments)}")
    _conclude(study, arguments)
    return FAILED if status.missing else DONE


def status(arguments: Namespace) -> int:
    """Say where every trial stands."""
    study = _open(arguments)
    say = describe.status_json if arguments.json else describe.status_text
    _result(say(study, read_status(study)))
    return DONE


def logs(arguments: Namespace) -> int:
    """Print what the jobs of a study, or the job of one trial, have printed."""
    from orchestrator.sweep_file import SweepError, choices

    study = _open(arguments)
    outputs = sorted(study.layout.submissions.glob("*/**/*.log"))
    if arguments.trial is not None:
        planned = read_status(study).planned
        if arguments.trial not in planned:
            raise SweepError(
                f"{arguments.trial!r} is no trial of {study.sweep.study}: "
                f"{choices(arguments.trial, planned)}"
            )
        outcome = planned[arguments.trial].outcome
        job = outcome.job
        outputs = [study.layout.job_output(job["submission"], job["pack"])] if job else []
        _result(describe.trial_line(planned[arguments.trial]))
    for output in outputs:
        text = output.read_text(errors="replace")
        ended = output.with_suffix(".exit")
        if text or ended.exists():
            _result(f"==> {output}\n{text.rstrip()}")
        if ended.exists():
            _result(f"its process ended with exit code {ended.read_text().strip()}\n")
    return DONE


def cancel(arguments: Namespace) -> int:
    """Stop every job of a study cleanly."""
    from orchestrator.advance import cancel as stop

    stopped = stop(_open(arguments))
    _result(f"{stopped} submissions stopped" if stopped else "no job of this study is alive")
    return DONE


def compare(arguments: Namespace) -> int:
    """Answer the questions of the sweep from what is recorded."""
    from orchestrator.conclude import Record
    from tracking.verdict_text import verdict_text

    comparison = Record.read(_open(arguments)).compare()
    _result(comparison.to_json() if arguments.json else verdict_text(comparison).rstrip())
    return DONE


def report(arguments: Namespace) -> int:
    """Write the report page."""
    from orchestrator.conclude import Record

    record = Record.read(_open(arguments))
    _result(str(record.write_report(record.compare())))
    return DONE


def collect(arguments: Namespace) -> int:
    """Bring the logs into MLflow."""
    from orchestrator.conclude import Record

    collected = Record.read(_open(arguments)).collect(arguments.mlflow, arguments.break_lock)
    said = {
        "new": collected.new,
        "updated": collected.updated,
        "unchanged": collected.unchanged,
        "uri": collected.uri,
    }
    _result(said if arguments.json else ", ".join(f"{v} {k}" for k, v in said.items()))
    return DONE


def _conclude(study: Study, arguments: Namespace) -> None:
    """Print the verdict, write the report, fill MLflow, and say where both are."""
    from orchestrator.conclude import Record
    from tracking.verdict_text import verdict_text

    record = Record.read(study)
    comparison = record.compare()
    _result(verdict_text(comparison))
    _result(f"report  {record.write_report(comparison)}")
    record.collect(arguments.mlflow, arguments.break_lock)
    _result(f"MLflow  {record.browse_command(arguments.mlflow)}")


def _again(verb: str, arguments: Namespace) -> str:
    """Return a command line that goes on with the same study."""
    words = ["thermolion", verb, arguments.study]
    if arguments.root:
        words += ["--root", str(arguments.root)]
    for override in arguments.set:
        words += ["--set", override]
    if verb == "run":
        for option in ("data", "lanes", "mlflow"):
            value = getattr(arguments, option)
            words += [f"--{option}", str(value)] if value is not None else []
        words += ["--download"] if arguments.download else []
    return shlex.join(words)


def _open(arguments: Namespace) -> Study:
    return open_study(arguments.study, arguments.root, arguments.set)


def _result(said: str | dict[str, Any]) -> None:
    """Print a result on stdout; progress and advice go to stderr through `_say`."""
    text = said if isinstance(said, str) else json.dumps(said, indent=2)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
