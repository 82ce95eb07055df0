"""Ray within one job of SLURM's as a backend: what the job is asked for, and how it goes."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from jobs.contract.failures import JobEnd
from jobs.contract.layout import Layout
from orchestrator.backends.base import (
    Backend,
    JobEnds,
    JobState,
    JobStates,
    LivingJobs,
    Need,
    PlacementRequest,
    SubmissionPlan,
)
from orchestrator.backends.pool import read_exit_code
from orchestrator.backends.ray.backend import (
    check_installed,
    find_unstarted,
    list_ignored,
    make_request,
    plan_packs,
)
from orchestrator.backends.recorded_site import site_of
from orchestrator.backends.records import BackendError, Submission, read_submissions
from orchestrator.backends.slurm import SlurmBackend
from orchestrator.study.study import Study
from orchestrator.sweep.document import SweepError
from slurm.request import JobResources
from slurm.submission import ALLOCATION, allocation_record

_MODULE = "orchestrator.backends.ray.allocation_node"


class RayOnSlurm(Backend):
    """Runs the packs of a submission in one job of SLURM's, which has a Ray of its own."""

    survives_us = True

    def __init__(self) -> None:
        self._slurm = SlurmBackend()  # it remembers the queue that it has seen, for our jobs alone

    def check(self, study: Study) -> None:
        """Raise SweepError for an absent Ray, SiteError or SweepError for what a site refuses."""
        check_installed()
        self._slurm.check_jobs(study, [_resources(study, ranks) for ranks in study.ranks])

    def ignored(self, study: Study) -> Sequence[str]:
        """Return the keys that Ray has no use for."""
        return list_ignored(study)

    def remarks(self, study: Study) -> Sequence[str]:
        """Return the remarks of SLURM's backend."""
        return self._slurm.remarks(study)

    def place(self, request: PlacementRequest) -> Sequence[SubmissionPlan]:
        """Return one plan, whose packs run in one job."""
        keys, job = request.study.sweep.keys, _resources(request.study)

        def backend_request(_lanes: int, at_a_time: int | None, folder: Path) -> Mapping[str, Any]:
            return {
                **make_request(request, job.cpus_per_task, job.gpus_per_node, at_a_time),
                "nodes_within_s": keys.ray.nodes_within,
                "allocation": self._describe_allocation(request, folder),
            }

        share = job.gpus_per_node * keys.pack.trials_per_gpu
        lanes = job.nodes * (share or job.cpus_per_task // keys.resources.cpus_per_task)
        return [plan_packs(request, lanes, backend_request)]

    def _describe_allocation(self, request: PlacementRequest, folder: Path) -> Mapping[str, Any]:
        """Return what SLURM is asked for, as a submission to it has it; `folder` is Ray's."""
        site = site_of(request.study)
        needs = [request.needs.get(trial.id, Need()) for trial in request.trials] or [Need()]
        need = Need(*(max(values) for values in zip(*map(astuple, needs), strict=True)))
        job = self._slurm.scale_resources(_resources(request.study), need, request.bad_nodes, site)
        beside = folder.with_name(f"{folder.name}{ALLOCATION}")
        return self._slurm.describe_jobs(beside, job, request, site, _MODULE)

    def submit(self, layout: Layout, submissions: Sequence[Submission]) -> None:
        """Send the job of every submission, and what earlier ones have left to send."""
        for submission in read_submissions(layout):
            if submission.in_a_job:
                layout.submission(_job(submission).id).mkdir(exist_ok=True)
        self._slurm.submit(layout, [])

    def keep_cap(self, study: Study, plans: Sequence[SubmissionPlan]) -> str | None:
        """Take down the cap of a study; return why it has no room for the job of a plan."""
        return self._slurm.keep_cap(study, plans)

    def settle_hours(self, layout: Layout) -> None:
        """Ask SLURM how long jobs ran that left no word of it."""
        self._slurm.settle_hours(layout)

    def waits(self, layout: Layout) -> bool:
        """Return True if a job is not with SLURM yet, may not be, or waits there in vain."""
        return self._slurm.waits(layout)

    def states(self, layout: Layout, submissions: Sequence[Submission]) -> JobStates:
        """Return the state of every pack."""
        jobs = self._slurm.states(layout, list(map(_job, submissions)))
        states = {}
        for one in submissions:
            (job,) = jobs[_job(one).id].values()
            states[one.id] = {n: _state(layout, one, n, job) for n in range(one.packs)}
        return states

    def ends(self, layout: Layout, submissions: Sequence[Submission]) -> JobEnds:
        """Return how packs ended that left no word, and why others never began."""
        jobs = self._slurm.ends(layout, list(map(_job, submissions)))
        ends = dict(find_unstarted(layout, submissions))
        for submission in submissions:
            end = jobs.get((_job(submission).id, 0))
            for pack in range(submission.packs if end is not None else 0):
                unended = read_exit_code(layout, submission.id, pack) is None
                if end is not None and unended and _concerns(layout, submission, pack, end):
                    ends[submission.id, pack] = end
        return ends

    def jobs(self, layout: Layout, submissions: Sequence[Submission]) -> LivingJobs:
        """Return the job of each submission for all of its packs."""
        of_jobs = self._slurm.jobs(layout, list(map(_job, submissions)))
        return {
            (one.id, pack): of_jobs[_job(one).id, 0]
            for one in submissions
            if (_job(one).id, 0) in of_jobs
            for pack in range(one.packs)
        }

    def cancel(
        self, layout: Layout, submission: Submission, packs: Collection[int] | None = None
    ) -> None:
        """Have the job stop: running trials save and end at their next step."""
        _as_a_whole(submission, packs, "cancel")
        self._slurm.cancel(layout, _job(submission))

    def hold(
        self, layout: Layout, submission: Submission, packs: Collection[int], hold: bool
    ) -> int:
        """Hold the job back from starting, or release it; return how many jobs that was."""
        _as_a_whole(submission, packs, "hold")
        return self._slurm.hold(layout, _job(submission), [0], hold)

    def unseen(self, layout: Layout, submissions: Sequence[Submission]) -> str | None:
        """Say why the queue does not tell of all jobs; None if it does."""
        return self._slurm.unseen(layout, list(map(_job, submissions)))

    def notes(self, layout: Layout, submissions: Sequence[Submission]) -> Sequence[str]:
        """Return remarks on jobs whose state is unknown and on how those not sent yet will be."""
        return self._slurm.notes(layout, list(map(_job, submissions)))


def _resources(study: Study, ranks: int | None = None) -> JobResources:
    """Return the resources of the job: one process a node, with all of its share of CPUs.

    `ranks` are the most of a trial, None for those that are planned by now. Raises SweepError
    if a trial does not fit into it.
    """
    keys = study.sweep.keys
    ray, given = keys.ray, keys.resources
    most = ranks or max((trial.world_size for trial in study.trials), default=1)
    nodes = ray.nodes or math.ceil(most / given.ranks_per_node)
    lanes = keys.pack.trials_per_gpu if most == 1 else 1
    cpus = ray.cpus_per_node or given.cpus_per_task * lanes * min(most, given.ranks_per_node)
    room = nodes * (cpus // given.cpus_per_task)
    if room < most:
        raise SweepError(
            f"a trial needs {most} x {given.cpus_per_task} CPUs, and the job of Ray has {nodes} x "
            f"{cpus}: raise ray.nodes or ray.cpus_per_node"
        )
    if most > 1 and 0 < nodes * given.gpus_per_node < most:
        raise SweepError(
            f"a trial needs {most} GPUs, and the job of Ray has {nodes} x {given.gpus_per_node}: "
            "raise ray.nodes or resources.gpus_per_node"
        )
    return JobResources(
        nodes=nodes,
        gpus_per_node=given.gpus_per_node,
        cpus_per_task=cpus,
        time_min=given.time_min,
        mem=given.mem,
    )


def _job(submission: Submission) -> Submission:
    """Return the one job of a submission, as if it were one to SLURM."""
    return Submission(**allocation_record(submission.to_json()))


def _state(layout: Layout, submission: Submission, pack: int, job: JobState) -> JobState:
    if job == "ended" or read_exit_code(layout, submission.id, pack) is not None:
        return "ended"
    begun = job == "running" and layout.job_output(submission.id, pack).exists()
    return "running" if begun else "queued"


def _concerns(layout: Layout, submission: Submission, pack: int, end: JobEnd) -> bool:
    """Return True if the end of the job is that of a pack: one that had begun, if any could."""
    concerns_all = end.failure in ("NEVER_STARTED", "CANCELLED")
    return concerns_all or layout.job_output(submission.id, pack).exists()


def _as_a_whole(submission: Submission, packs: Collection[int] | None, verb: str) -> None:
    if packs is not None and set(packs) != set(range(submission.packs)):
        raise BackendError(
            f"submission {submission.id} runs in one job: {verb} the study, not some of its trials"
        )
