"""The verbs that look and change nothing: plan, status, logs."""

from argparse import Namespace
from pathlib import Path

from orchestrator.backends.base import backend_of, count_ranks_at_a_time
from orchestrator.backends.slurm import render_batch_scripts
from orchestrator.cli.terminal import DONE, opened, result, say
from orchestrator.progress.job_logs import follow, outputs
from orchestrator.progress.status import read_status
from orchestrator.study.estimate import estimate
from orchestrator.study.trial_ids import find_id, find_in_study
from orchestrator.submit.notify import tell
from orchestrator.submit.writer import Sender, SendOptions
from orchestrator.views import plan as describe


def plan(arguments: Namespace) -> int:
    """Say what would run, without starting anything; of SLURM, the exact batch script."""
    from orchestrator.progress.sweep_diff import since_recorded

    study = opened(arguments)
    status = read_status(study)
    missing = status.missing
    request = Sender(study, status, SendOptions(lanes=arguments.lanes)).placement_request(
        missing, Path.cwd()
    )
    keys = study.sweep.keys
    plans = backend_of(keys).place(request)
    packs = [pack for plan in plans for pack in plan.packs]
    lanes = count_ranks_at_a_time(plans, keys.limits.concurrent) or 1
    left = estimate(status.wanted, lanes, keys.resources.device, keys.limits.concurrent)
    change = since_recorded(study, status)
    on_slurm = keys.backend == "slurm" or keys.in_a_job
    scripts = render_batch_scripts(study, plans) if on_slurm else []
    if arguments.json:
        record = describe.plan_json(study, status, packs, lanes, left, change)
        result(record | {"sbatch": scripts})
        return DONE
    result(describe.plan_text(study, status, packs, lanes, left, change))
    for script in scripts:
        result(f"\n{script.rstrip()}")
    return DONE


def status(arguments: Namespace) -> int:
    """Say where every trial stands, or all that is known of one."""
    study = opened(arguments)
    if arguments.trial is not None:
        from orchestrator.views.trial import trial_record, trial_text

        record = trial_record(find_in_study(arguments.trial, study))
        result(record if arguments.json else trial_text(record))
        return DONE
    said = describe.status_json if arguments.json else describe.status_text
    now = read_status(study)
    for wrong in tell(study, now):
        say(f"note: {wrong}")
    result(said(study, now))
    return DONE


def logs(arguments: Namespace) -> int:
    """Print what the jobs of a study, or the job of one trial, have printed, or are printing."""
    study = opened(arguments)
    trial_id = None
    if arguments.trial is not None:
        planned = read_status(study).planned
        trial_id = find_id(arguments.trial, planned, repr(study.name))
        result(describe.trial_line(planned[trial_id]))
        traceback = planned[trial_id].outcome.traceback
        if traceback:
            result(traceback.rstrip())
    if arguments.follow:
        for text in follow(study, trial_id):
            result(text)
        return DONE
    for output in outputs(study, trial_id):
        text = output.read_text(errors="replace") if output.exists() else ""
        ended = output.with_suffix(".exit")
        if text or ended.exists():
            result(f"==> {output}\n{text.rstrip()}")
        if ended.exists():
            result(f"its process ended with {describe.exit_words(ended.read_text().strip())}\n")
    return DONE
