"""Ray within one job of SLURM's as a backend: what the job is asked for, and how it goes."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.contract.failures import JobEnd
from jobs.contract.layout import Layout
from jobs.contract.lock import user_name
from orchestrator.backends.base import (
    JobEnds,
    JobState,
    JobStates,
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
from orchestrator.backends.records import BackendError, Submission, read_submissions
from orchestrator.backends.slurm import SlurmBackend, scale_resources
from orchestrator.study.study import Study
from orchestrator.sweep.document import SweepError
from orchestrator.sweep.site_profile import read_site
from slurm import limits
from slurm.commands import is_here
from slurm.facts import read_facts
from slurm.request import JobResources, feeder_request, job_request
from slurm.submission import ALLOCATION, allocation_record

_MODULE = "orchestrator.backends.ray.allocation_node"
_AFTER = "orchestrator.unattended"


class RayOnSlurm:
    """Runs the packs of a submission in one job of SLURM's, which has a Ray of its own."""

    def __init__(self) -> None:
        self._slurm = SlurmBackend()  # it remembers the queue that it has seen, for our jobs alone

    def check(self, study: Study) -> None:
        """Raise SweepError for an absent Ray, SiteError or SweepError for what a site refuses."""
        check_installed()
        _check_allocation(study)

    def ignored(self, study: Study) -> Sequence[str]:
        """Return the keys that Ray has no use for."""
        return list_ignored(study)

    def survives_us(self, study: Study) -> bool:
        """Return True: a job of SLURM's needs nobody of us."""
        return True

    def place(self, request: PlacementRequest) -> Sequence[SubmissionPlan]:
        """Return one plan, whose packs run in one job."""
        keys, asked = request.study.sweep.keys, _resources(request.study)

        def backend_request(_lanes: int, at_a_time: int | None, folder: Path) -> Mapping[str, Any]:
            said = make_request(request, asked.cpus_per_task, asked.gpus_per_node, at_a_time)
            return {
                **said,
                "nodes_within_s": keys.ray.nodes_within,
                "allocation": _request(request, folder),
            }

        share = asked.gpus_per_node * keys.pack.trials_per_gpu
        lanes = asked.nodes * (share or asked.cpus_per_task // keys.resources.cpus_per_task)
        return [plan_packs(request, lanes, backend_request)]

    def submit(self, layout: Layout, submissions: Sequence[Submission]) -> None:
        """Send the job of every submission, and what earlier ones have left to send."""
        for submission in read_submissions(layout):
            if submission.in_a_job:
                layout.submission(_job(submission).id).mkdir(exist_ok=True)
        self._slurm.submit(layout, [])

    def waits(self, layout: Layout) -> bool:
        """Return True if a job is not with SLURM yet, may not be, or waits there in vain."""
        return self._slurm.waits(layout)

    def states(self, layout: Layout, submissions: Sequence[Submission]) -> JobStates:
        """Return the state of every pack."""
        jobs = self._slurm.states(layout, list(map(_job, submissions)))
        found = {}
        for submission in submissions:
            (job,) = jobs[_job(submission).id].values()
            packs = range(submission.packs)
            found[submission.id] = {pack: _state(layout, submission, pack, job) for pack in packs}
        return found

    def ends(self, layout: Layout, submissions: Sequence[Submission]) -> JobEnds:
        """Return how packs ended that left no word, and why others never began."""
        jobs = self._slurm.ends(layout, list(map(_job, submissions)))
        found = dict(find_unstarted(layout, submissions))
        for submission in submissions:
            end = jobs.get((_job(submission).id, 0))
            for pack in range(submission.packs if end is not None else 0):
                unended = read_exit_code(layout, submission.id, pack) is None
                if end is not None and unended and _concerns(layout, submission, pack, end):
                    found[submission.id, pack] = end
        return found

    def cancel(
        self, layout: Layout, submission: Submission, packs: Collection[int] | None = None
    ) -> None:
        """Have the job stop: running trials save and end at their next step."""
        _as_a_whole(submission, packs, "cancel")
        self._slurm.cancel(layout, _job(submission))

    def hold(
        self, layout: Layout, submission: Submission, packs: Collection[int], hold: bool
    ) -> int:
        """Keep the job from starting, or let it; return how many that are."""
        _as_a_whole(submission, packs, "hold")
        return self._slurm.hold(layout, _job(submission), [0], hold)

    def notes(self, layout: Layout, submissions: Sequence[Submission]) -> Sequence[str]:
        """Say what is not with SLURM yet, and how it gets there."""
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


def _check_allocation(study: Study) -> None:
    """Raise SiteError or SweepError for what the site would refuse or never start."""
    site = read_site(study.sweep.keys.site)
    asked = [_resources(study, ranks) for ranks in study.ranks]  # of all phases
    if not is_here():
        raise SweepError(
            "ray.on: slurm, and this machine has no SLURM (no sbatch): run thermolion on a login "
            "node of the cluster, or bring one up with `thermolion cluster up`"
        )
    facts = read_facts(user_name())
    for each in asked:
        limits.check_request(facts, site, each)
    limits.check_visible(study.layout.root, site)


def _request(request: PlacementRequest, folder: Path) -> Mapping[str, Any]:
    """Return what SLURM is asked for, in the words of a submission to it; `folder` is Ray's."""
    study = request.study
    layout, site = study.layout, read_site(study.sweep.keys.site)
    facts = read_facts(user_name()) if is_here() else None
    needs = [request.needs.get(trial.id, Need()) for trial in request.trials] or [Need()]
    need = Need(*(max(values) for values in zip(*map(_figures, needs), strict=True)))
    asked = scale_resources(_resources(study), need, request.bad_nodes, site, facts)
    job = folder.with_name(f"{folder.name}{ALLOCATION}")
    after = feeder_request(job, layout.root, layout.study, site, _AFTER)
    feeder = feeder_request(job, layout.root, layout.study, site)
    return {
        "site": site.name,
        "job": job_request(job, asked, site, _MODULE).to_json(),
        "feeder": feeder.to_json() if site.sbatch_on_nodes else None,
        "after": after.to_json() if site.sbatch_on_nodes and request.unattended else None,
        "concurrent": None,
        "submit_cap": limits.find_submit_cap(site, facts),
        "lanes": 1,
        "cpu_fallback": site.cpu_fallback,
        "status_every_s": site.status_every_s,
    }


def _figures(need: Need) -> tuple[float, float, float]:
    return need.mem, need.time, need.backoff_s


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
    return end.failure == "NEVER_STARTED" or layout.job_output(submission.id, pack).exists()


def _as_a_whole(submission: Submission, packs: Collection[int] | None, verb: str) -> None:
    if packs is not None and set(packs) != set(range(submission.packs)):
        raise BackendError(
            f"submission {submission.id} runs in one job: {verb} the study, not some of its trials"
        )
