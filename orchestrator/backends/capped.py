"""If a study's cap of hours has room for what is about to be sent. Sends nothing."""

from collections.abc import Sequence

from jobs.contract.lock import user_name
from orchestrator.backends.base import SubmissionPlan
from orchestrator.backends.records import next_number
from orchestrator.study.study import Study
from slurm.hours_cap import Cap, describe_cap, note_cap, read_allotment, read_ledger
from slurm.submission import SlurmSubmission, allocation_record


def read_limits(study: Study) -> Cap:
    """Return the cap of a study, as its sweep has it."""
    limits = study.sweep.keys.limits
    return Cap(limits.gpu_hours, limits.cpu_hours)


def find_no_room(
    study: Study, plans: Sequence[SubmissionPlan], ours: Sequence[SlurmSubmission]
) -> str | None:
    """Return why the cap has no room for any job of some plans beside what was sent, or None.

    While jobs are open there may be room later. The reason is written down as well.
    """
    cap, ledger = read_limits(study), read_ledger(ours)
    if ledger.open_jobs:
        return None
    planned = [_read_plan(study, plan) for plan in plans]
    for one in planned:
        looks_after = [] if one.after is None else [read_allotment(one, one.after).most]
        if cap.fits(sum([*looks_after, read_allotment(one).most], ledger.taken)):
            return None
    why = describe_cap(cap, ledger, read_allotment(planned[0]))
    note_cap(study.layout, why)
    return why


def _read_plan(study: Study, plan: SubmissionPlan) -> SlurmSubmission:
    """Return a plan as the submission that it would be."""
    folder = study.layout.submission(f"{next_number(study.layout):04d}")
    request = plan.backend_request(folder) or {}
    record = {"id": folder.name, "packs": len(plan.packs), "user": user_name(), "request": request}
    within = request.get("allocation")
    return SlurmSubmission.of(study.layout, allocation_record(record) if within else record)
