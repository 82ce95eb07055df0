"""The verbs that show a study and change nothing: plan, status, logs."""

import contextlib
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.contract.lock import Lock, LockHeld
from orchestrator.backends.base import backend_of, count_ranks_at_a_time
from orchestrator.backends.records import read_submissions
from orchestrator.cli.terminal import Exit, load_study, print_result, say
from orchestrator.progress.job_logs import find_outputs, follow_outputs
from orchestrator.progress.status import Status, read_status
from orchestrator.results.additions import list_additions
from orchestrator.results.preregister import amend
from orchestrator.study.price import Lanes, measure_lanes
from orchestrator.study.study import Study
from orchestrator.study.trial_lookup import find_id, find_in_study
from orchestrator.submit.writer import Sender, SendOptions
from orchestrator.views.plan import (
    PlanPreview,
    describe_exit,
    status_json,
    status_text,
    trial_line,
)
from thermolion.errors import OperationError

if TYPE_CHECKING:
    from orchestrator.progress.hours import StudyHours
    from slurm.start_times import StartTime


def plan(arguments: Namespace) -> int:
    """Say what would run, without starting anything; of SLURM, the exact batch script."""
    from orchestrator.progress.sweep_diff import compare_with_recorded

    study = load_study(arguments)
    status = read_status(study)
    amended = amend(study, status.stage)
    if amended is not None:
        status = read_status(study, amended)
    additions = list_additions(study, status.stage)
    keys = study.sweep.keys
    sender = Sender(study, status, SendOptions(lanes=arguments.lanes))
    plans = backend_of(keys).place(sender.placement_request(status.missing, Path.cwd()))
    packs = [pack for plan in plans for pack in plan.packs]
    lanes = count_ranks_at_a_time(plans, keys.limits.concurrent) or 1
    change = compare_with_recorded(study, status)
    scripts, starts, remarks = [], [], []
    if keys.backend == "slurm" or keys.in_a_job:
        from orchestrator.backends.batch_scripts import describe_throttle, render_batch_scripts

        scripts = render_batch_scripts(study, plans)
        remarks = describe_throttle(study, scripts)
        starts = _ask_starts(study, scripts)
    at_hand = _find_lanes(study, status, max(lanes, status.at_a_time), arguments.lanes)
    preview = PlanPreview(
        study,
        status,
        packs,
        lanes,
        at_hand,
        change,
        arguments.effect,
        additions,
        amended is not None,
        starts,
        remarks,
    )
    if arguments.json:
        print_result(preview.to_json() | {"sbatch": scripts})
        return Exit.DONE
    print_result(preview.to_text())
    for script in scripts:
        print_result(f"\n{script.rstrip()}")
    return Exit.DONE


def _ask_starts(study: Study, scripts: Sequence[str]) -> "list[StartTime]":
    """Return when jobs would start, a question for each shape; none without SLURM."""
    from orchestrator.backends.recorded_site import site_of
    from slurm.commands import is_here
    from slurm.start_times import ask_starts

    return ask_starts(scripts, site_of(study).partitions) if scripts and is_here() else []


def _find_lanes(study: Study, status: Status, planned: int, asked: int | None) -> Lanes:
    """Return the lanes that all stages of a study have; those `planned` are of the next one."""
    keys = study.sweep.keys
    is_gpu = keys.resources.device == "cuda"
    lanes = Lanes(planned, keys.limits.concurrent, unit="GPU" if is_gpu else "core")
    if keys.backend != "local":  # nobody knows how long a queue is
        shared = keys.pack.trials_per_gpu if is_gpu else 1
        return replace(lanes, starts_s=0.0, between_s=0.0, shared=shared)
    from orchestrator.backends.local import count_lanes
    from orchestrator.backends.pool import count_gpus

    sent = {one.id: (one.time_ms, one.lanes) for one in read_submissions(study.layout)}
    lanes = replace(lanes, count=asked or count_lanes(study))
    if is_gpu:
        lanes = replace(lanes, shared=max(1, lanes.count // max(1, count_gpus())))
    return measure_lanes(lanes, status.outcomes, sent)


def status(arguments: Namespace) -> int:
    """Say where every trial stands, or all that is known of one."""
    study = load_study(arguments)
    if arguments.trial is not None:
        from orchestrator.views.trial import trial_record, trial_text

        record = trial_record(find_in_study(arguments.trial, study))
        print_result(record if arguments.json else trial_text(record))
        return Exit.DONE
    from orchestrator.submit.notify import send_notices

    now = read_status(study)
    for failure in send_notices(study, now):
        say(f"note: {failure}")
    if arguments.hours:
        from orchestrator.views.hours import hours_json, hours_text

        hours = _read_hours(study, now)
        print_result(hours_json(hours) if arguments.json else hours_text(hours))
        return Exit.DONE
    print_result(status_json(study, now) if arguments.json else status_text(study, now))
    return Exit.DONE


def _read_hours(study: Study, now: Status) -> "StudyHours":
    """Return the hours of a study; SLURM is asked about jobs that left no word, if it answers."""
    from orchestrator.progress.hours import read_hours

    backends = set(map(backend_of, read_submissions(study.layout)))
    # The study may be another user's, or a submit under way: then by what is written down.
    with contextlib.suppress(LockHeld, OSError, OperationError), Lock(study.layout.lock):
        for backend in backends:
            backend.settle_hours(study.layout)
    return read_hours(study, now)


def logs(arguments: Namespace) -> int:
    """Print what the jobs of a study, or the job of one trial, have printed, or are printing."""
    study = load_study(arguments)
    trial_id = None
    if arguments.trial is not None:
        planned = read_status(study).planned
        trial_id = find_id(arguments.trial, planned, repr(study.name))
        print_result(trial_line(planned[trial_id]))
        traceback = planned[trial_id].outcome.traceback
        if traceback:
            print_result(traceback.rstrip())
    if arguments.follow:
        for text in follow_outputs(study, trial_id):
            print_result(text)
        return Exit.DONE
    for output in find_outputs(study, trial_id):
        text = output.read_text(errors="replace") if output.exists() else ""
        ended = output.with_suffix(".exit")
        if text or ended.exists():
            print_result(f"==> {output}\n{text.rstrip()}")
        if ended.exists():
            print_result(f"its process ended with {describe_exit(ended.read_text().strip())}\n")
    return Exit.DONE
