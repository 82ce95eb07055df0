"""SLURM as a backend: from a study's words to those of `slurm/`, and back to states of packs.

Says what a job is given. Knows no option of sbatch and no word of squeue.
"""

import contextlib
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jobs.contract.failures import JobEnd
from jobs.contract.layout import Layout
from jobs.contract.lock import user_name
from jobs.contract.trial import Trial
from orchestrator.backends.base import (
    Backend,
    JobEnds,
    JobState,
    JobStates,
    LivingJobs,
    Need,
    PlacementRequest,
    SchedulerJob,
    SubmissionPlan,
)
from orchestrator.backends.capped import find_no_room, read_limits
from orchestrator.backends.gpu_models import split_trials
from orchestrator.backends.job_times import with_time
from orchestrator.backends.recorded_site import site_of
from orchestrator.backends.records import Submission
from orchestrator.study.estimate import estimate_by_trial
from orchestrator.study.packs import PackSizing, make_sized_packs
from orchestrator.study.study import Study
from orchestrator.sweep.document import SweepError
from slurm import limits
from slurm.commands import is_here
from slurm.dispatcher import Dispatcher
from slurm.environment import read_job_id
from slurm.feed import describe_unsent, needs_feeder
from slurm.helper_record import read_helper
from slurm.hours_cap import settle, write_cap
from slurm.policy import foresee_waiting
from slurm.queue import job_control, pack_states
from slurm.queue.job_ends import find_ends
from slurm.queue.pending import explain_waiting
from slurm.queue.squeue import Queue, QueueWatch
from slurm.request import JobResources, feeder_request, job_request
from slurm.site.facts import USUAL_ARRAY, Facts, read_facts
from slurm.site.shell_options import check_clusters, describe_unheeded
from slurm.site.site import Site
from slurm.slurm_errors import SiteError, SlurmError
from slurm.submission import ALLOCATION, USUAL_CONCURRENT, SlurmSubmission, read_slurm_submissions

_MARGIN = 0.1  # of the time limit, beside the grace, because times are estimated
_AFTER = "orchestrator.unattended"  # the module that advances a study without its user


def derive_resources(study: Study, ranks: int = 1) -> JobResources:
    """Return what one job of a study is given whose trials have `ranks` processes each.

    Raises SweepError if they do not fill the nodes that they are spread over, and if a job would
    run more trials at a time than the study may.
    """
    keys = study.sweep.keys
    given, lanes = keys.resources, keys.pack.trials_per_gpu
    if ranks > 1 and lanes > 1:
        raise SweepError(
            f"pack.trials_per_gpu is {lanes}, and a trial spans {ranks} processes: several trials "
            "share a GPU only if each is one process"
        )
    if keys.limits.concurrent is not None and keys.limits.concurrent < lanes:
        raise SweepError(
            f"limits.concurrent is {keys.limits.concurrent}, and a job runs {lanes} trials at a "
            "time (pack.trials_per_gpu): raise the one or lower the other"
        )
    nodes = max(1, ranks // given.ranks_per_node)
    if ranks > given.ranks_per_node and ranks % given.ranks_per_node:
        raise SweepError(
            f"{ranks} ranks do not fill nodes of {given.ranks_per_node}: let `ranks` of the "
            "workload be a multiple of it"
        )
    here = ranks // nodes
    return JobResources(
        nodes=nodes,
        tasks_per_node=here * lanes,
        gpus_per_node=here if given.gpus_per_node else 0,
        cpus_per_task=given.cpus_per_task,
        lanes=lanes,
        time_min=given.time_min,
        mem=given.mem,
    )


class SlurmBackend(Backend):
    """Sends packs as tasks of job arrays; leaves no process behind."""

    survives_us = True

    def __init__(self) -> None:
        self._watch = QueueWatch()
        self._silence: str | None = None
        self._seen = Queue(())
        self._refused: Queue | None = None

    def check(self, study: Study) -> None:
        """Raise SiteError or SweepError for what the site would refuse or never start."""
        given = study.sweep.keys.resources
        jobs = [derive_resources(study, ranks) for ranks in study.ranks]
        for time_min, mem in (given.of(name) for name in given.each):
            jobs += [replace(job, time_min=time_min, mem=mem) for job in jobs[: len(study.ranks)]]
        self.check_jobs(study, jobs)

    def check_jobs(self, study: Study, resources: Iterable[JobResources]) -> None:
        """Raise the errors of `check` for jobs that are given these resources."""
        site = site_of(study)
        if not is_here():
            raise SweepError(
                f"{'ray.on' if study.sweep.keys.in_a_job else 'backend'}: slurm, and this machine "
                "has no SLURM (no sbatch): run thermolion on a login node of the cluster, bring "
                "one up with `thermolion cluster up`, or use the local backend"
            )
        check_clusters(os.environ, self._facts.config.get("ClusterName"))
        cap = read_limits(study)
        for job in resources:
            limits.check_request(self._facts, site, job)
            limits.check_cap(self._facts, site, job, cap)
        limits.check_visible(study.layout.root, site)

    def remarks(self, study: Study) -> Sequence[str]:
        """Say what jobs will wait for, and which variables of the shell nobody heeds."""
        remarks: list[str] = []
        if (facts := self._facts_here) is not None:
            site, job = site_of(study), derive_resources(study, max(study.ranks))
            with contextlib.suppress(SiteError):  # `refusals` has it
                for partition in limits.find_partitions(facts, site):
                    remarks += foresee_waiting(facts, site, partition, job)
        remarks += describe_unheeded(os.environ)
        return list(dict.fromkeys(remarks))

    def refusals(self, study: Study) -> Sequence[str]:
        """Return the first thing for which the site would refuse jobs, or never start them."""
        if (facts := self._facts_here) is not None:
            site, cap = site_of(study), read_limits(study)
            try:
                for job in (derive_resources(study, ranks) for ranks in study.ranks):
                    limits.check_request(facts, site, job)
                    limits.check_cap(facts, site, job, cap)
            except SiteError as refusal:
                return [str(refusal)]
        return []

    def place(self, request: PlacementRequest) -> Sequence[SubmissionPlan]:
        """Return plans of at most MaxArraySize packs, sized by the time that trials take."""
        if request.lanes is not None:
            raise SweepError(
                "--lanes is for this machine: on SLURM, `limits.concurrent` says how many trials "
                "run at a time, and `pack.trials_per_gpu` how many share a job"
            )
        site = site_of(request.study)
        facts = self._facts_here
        size = limits.find_array_size(site, facts) or USUAL_ARRAY
        plans = []
        for alike in split_trials(request, site, facts):
            groups: dict[int, list[tuple[Trial, ...]]] = {}
            measure, need = _measure(request, site, alike.time_min), alike.need
            for pack in make_sized_packs(alike.trials, measure, request.suspects, request.code):
                groups.setdefault(pack[0].world_size, []).append(pack)
            for ranks, group in groups.items():
                job = derive_resources(request.study, ranks)
                job = replace(job, gpu_type=alike.model, time_min=alike.time_min, mem=alike.mem)
                job = with_time(job, group, request, site, facts)
                job = self.scale_resources(job, need, request.bad_nodes, site)
                plans += [
                    self._plan(job, need, request, site, group[start : start + size])
                    for start in range(0, len(group), size)
                ]
        return plans

    def submit(self, layout: Layout, submissions: Sequence[Submission]) -> None:
        """Send what the limits allow; the rest goes by itself, or with the next call.

        Frees what SLURM has held by itself, as seen at the last look at the states.
        """
        ours = read_slurm_submissions(layout)
        if not ours:
            return
        queue = Queue(()) if _is_first(ours, submissions) else self._queue(ours)
        if queue is self._refused:
            return  # the site takes no more, and nothing is known to have ended since
        job = read_job_id(os.environ)
        dispatcher = Dispatcher(ours, queue, job, bool(submissions) and job is None)
        try:
            dispatcher.feed()
        except SlurmError:
            self._watch.forget()  # what has come of it, the queue alone knows
            raise
        self._refused = queue if dispatcher.refused or dispatcher.capped else None
        if dispatcher.changed:
            self._watch.forget()

    def keep_cap(self, study: Study, plans: Sequence[SubmissionPlan]) -> str | None:
        """Take down the cap of a study; return why it has no room for any job of some plans.

        While jobs of the study are open there may be room later.
        """
        write_cap(study.layout, read_limits(study))
        if not read_limits(study) or not plans:
            return None
        ours = read_slurm_submissions(study.layout)
        if ours:
            settle(ours, self._queue(ours))
        return find_no_room(study, plans, ours)

    def settle_hours(self, layout: Layout) -> None:
        """Ask SLURM, once, how long jobs ran that left no word of it, and write it down."""
        if ours := read_slurm_submissions(layout):
            settle(ours, self._queue(ours))

    def waits(self, layout: Layout) -> bool:
        """Return True if something is not with SLURM yet, may not be, or waits there in vain."""
        ours = read_slurm_submissions(layout)
        return bool(
            any(submission.waits for submission in ours)
            or job_control.find_delayed(ours, self._seen)
            or job_control.find_held(ours, self._seen)
        )

    def states(self, layout: Layout, submissions: Sequence[Submission]) -> JobStates:
        """Return the state of every pack; asks squeue once, and only if a job may be alive."""
        ours = _slurm_submissions(layout, submissions)
        known = {each.id: pack_states.read_states(each) for each in ours}
        self._silence = None
        queue = self._seen = Queue(())
        asks = any(state is None for states in known.values() for state in states.values())
        helper = read_helper(layout)
        asks = asks or (helper is not None and helper.is_expected)
        if ours and (asks or any(map(needs_feeder, ours))):
            try:
                queue = self._seen = self._queue(ours)
            except SlurmError as error:
                self._silence = str(error)
                return {name: _believed(states) for name, states in known.items()}
        return {each.id: pack_states.complete_states(each, known[each.id], queue) for each in ours}

    def ends(self, layout: Layout, submissions: Sequence[Submission]) -> JobEnds:
        """Return how jobs ended that left no exit code, by the queue that `states` has seen."""
        ends: dict[tuple[str, int], JobEnd] = {}
        if self._silence is not None:
            return ends
        for each in _slurm_submissions(layout, submissions):
            states = pack_states.read_states(each)
            open_ = {pack for pack, state in states.items() if state is None}
            if open_:
                now = pack_states.complete_states(each, states, self._seen)
                dead = {pack for pack in open_ if now[pack] == "ended"}
                for pack, end in find_ends(each, dead, self._seen).items():
                    ends[each.id, pack] = end
        return ends

    def jobs(self, layout: Layout, submissions: Sequence[Submission]) -> LivingJobs:
        """Return the jobs that live and why they wait, by the queue that `states` has seen."""
        jobs = {}
        for each in _slurm_submissions(layout, submissions):
            for pack, task, reason in pack_states.list_tasks(each, self._seen):
                jobs[each.id, pack] = SchedulerJob(task, reason)
        return jobs

    def cancel(
        self, layout: Layout, submission: Submission, packs: Collection[int] | None = None
    ) -> None:
        """Stop jobs, and never send what has not been; returns once they are out of the queue."""
        (each,) = _slurm_submissions(layout, [submission])
        job_control.cancel(each, packs, lambda: self._queue_now(each))
        self._watch.forget()

    def hold(
        self, layout: Layout, submission: Submission, packs: Collection[int], hold: bool
    ) -> int:
        """Hold back jobs that have not started, or release them; return how many."""
        (each,) = _slurm_submissions(layout, [submission])
        count = job_control.hold(each, packs, hold, lambda: self._queue_now(each))
        self._watch.forget()
        return count

    def unseen(self, layout: Layout, submissions: Sequence[Submission]) -> str | None:
        return self._silence or self._seen.trouble

    def notes(self, layout: Layout, submissions: Sequence[Submission]) -> Sequence[str]:
        """Return remarks on jobs whose state is unknown and on how those not sent yet will be."""
        if self._silence is not None:
            return [f"SLURM does not answer, its jobs are taken for alive: {self._silence}"]
        notes = []
        helper = read_helper(layout)
        is_gone = pack_states.is_helper_gone(layout, self._seen)
        trouble = None if helper is None else helper.describe_trouble(is_gone)
        if trouble is not None:
            notes.append(trouble)
        if (unseen := self._seen.trouble) is not None:
            notes.append(f"some jobs are taken for alive, of which nobody knows: {unseen}")
        jobs = self.jobs(layout, submissions).values()
        notes += explain_waiting([job.waits for job in jobs if job.waits is not None])
        unsent = describe_unsent(layout, _slurm_submissions(layout, submissions), self._seen)
        return notes if unsent is None else [*notes, unsent]

    def scale_resources(
        self, job: JobResources, need: Need, bad_nodes: Sequence[str], site: Site
    ) -> JobResources:
        """Return resources as a need and the site's dead nodes change them.

        Raises SweepError or SiteError if there is no such time.
        """
        facts = self._facts_here
        if need.mem != 1:
            job = replace(job, mem=limits.scale_memory(facts, site, job, need.mem))
        if need.time != 1:
            time_min = job.time_min or site.time_min
            if time_min is None:
                raise SweepError("--time has nothing to multiply: set resources.time in the sweep")
            job = replace(job, time_min=math.ceil(time_min * need.time))
        left_out = limits.choose_excluded(facts, site, job, bad_nodes)
        job = replace(job, exclude=left_out, begin_s=math.ceil(need.backoff_s))
        if facts is not None and need.time != 1:
            limits.check_request(facts, site, job)
        return job

    def describe_jobs(
        self,
        folder: Path,
        job: JobResources,
        request: PlacementRequest,
        site: Site,
        module: str = "slurm.node",
        concurrent: int | None = None,
    ) -> Mapping[str, Any]:
        """Return the part of a submission's record that is for `slurm/`.

        The submission lies in `folder`; every process of its jobs runs `module`, and `concurrent`
        jobs run at a time (None: any number).
        """
        layout = request.study.layout
        feeder = feeder_request(folder, layout.root, layout.study, site)
        after = feeder_request(folder, layout.root, layout.study, site, _AFTER)
        return {
            "site": site.name,
            "profile": site.to_json(),
            "job": job_request(folder, job, site, module).to_json(),
            "feeder": feeder.to_json() if site.sbatch_on_nodes else None,
            "after": after.to_json() if site.sbatch_on_nodes and request.unattended else None,
            "concurrent": concurrent,
            "submit_cap": limits.find_submit_cap(site, self._facts_here),
            "arrays": limits.find_array_size(site, self._facts_here) is not None,
            "lanes": job.lanes,
            "allotted": limits.count_allotted(self._facts_here, site, job),
            "cpu_fallback": site.cpu_fallback,
            "status_every_s": site.status_every_s,
        }

    @cached_property
    def _facts(self) -> Facts:
        return read_facts(user_name())

    @property
    def _facts_here(self) -> Facts | None:
        """The facts of the site, None if there is no SLURM to ask."""
        return self._facts if is_here() else None

    def _queue(self, submissions: Sequence[SlurmSubmission]) -> Queue:
        every_s = min(submission.status_every_s for submission in submissions)
        return self._watch.read(pack_states.expect_jobs(submissions), every_s)

    def _queue_now(self, submission: SlurmSubmission) -> Queue:
        self._watch.forget()
        return self._queue([submission])

    def _plan(
        self,
        job: JobResources,
        need: Need,
        request: PlacementRequest,
        site: Site,
        packs: Sequence[Sequence[Trial]],
    ) -> SubmissionPlan:
        concurrent = request.study.sweep.keys.limits.concurrent
        processes, jobs = job.tasks * len(packs), None
        if concurrent is not None:
            processes = min(processes, concurrent * (job.tasks // job.lanes))
            jobs = concurrent // job.lanes
        elif limits.find_array_size(site, self._facts_here) is not None:
            processes = job.tasks * min(len(packs), USUAL_CONCURRENT)
        scale = {"mem": need.mem, "time": need.time}
        return SubmissionPlan(
            packs,
            processes,
            lambda folder: self.describe_jobs(folder, job, request, site, concurrent=jobs),
            None if (need.mem, need.time) == (1, 1) else scale,
        )


def _is_first(ours: Sequence[SlurmSubmission], new: Sequence[Submission]) -> bool:
    """Return True if nothing was sent for a study before, so that no job of it is in the queue.

    If the site counts the jobs of a user, the queue has to be read all the same.
    """
    names = {submission.id for submission in new}
    first = all(one.id.removesuffix(ALLOCATION) in names for one in ours)
    return first and all(one.submit_cap is None for one in ours)


def _believed(states: Mapping[int, JobState | None]) -> Mapping[int, JobState]:
    """Return states if nobody answers: a trial is better waited for than trained twice."""
    return {pack: state or "running" for pack, state in states.items()}


def _measure(request: PlacementRequest, site: Site, given_min: int | None) -> PackSizing:
    pack, given = request.study.sweep.keys.pack, request.study.sweep.keys.resources
    seconds: Mapping[str, float | None] = estimate_by_trial(request.outcomes, given.device)
    if pack.trial_takes is not None:
        seconds = dict.fromkeys(seconds, pack.trial_takes)
    time_min = given_min or site.time_min
    most = None if time_min is None else max(0.0, 60 * time_min * (1 - _MARGIN) - site.grace_s)
    return PackSizing(seconds, pack.trials_per_gpu, pack.at_least, most)


def _slurm_submissions(layout: Layout, submissions: Sequence[Submission]) -> list[SlurmSubmission]:
    return [SlurmSubmission.of(layout, submission.to_json()) for submission in submissions]
