"""SLURM as a backend: from a study's words to those of `slurm/`, and back to states of packs.

Knows no option of sbatch and no word of squeue.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jobs.layout import Layout
from jobs.process import user_name
from jobs.trial import Trial
from orchestrator.backends.base import JobState, Load, Lot, Submission
from orchestrator.estimate import trial_seconds
from orchestrator.packs import Measure, sized_packs
from orchestrator.site_file import read_site
from orchestrator.study import Study
from orchestrator.sweep_file import SweepError
from slurm import control, limits, progress
from slurm.commands import is_here
from slurm.errors import SlurmError
from slurm.facts import Facts, read_facts
from slurm.order import Order, known_jobs, read_orders
from slurm.queue import Queue, QueueWatch, read_queue
from slurm.resources import Resources, feeder_request, job_request
from slurm.site import Site

_MARGIN = 0.1  # of the time limit, beside the grace: an estimate is one
_ARRAY = 1001  # MaxArraySize where nobody says another one


class SlurmBackend:
    """Sends packs as tasks of job arrays; leaves no process behind."""

    survives_us = True

    def __init__(self) -> None:
        self._watch = QueueWatch()
        self._silence: str | None = None
        self._stuck: list[str] = []

    def check(self, study: Study) -> None:
        """Raise SiteError or SweepError for what the site would refuse or never start."""
        site = read_site(study.sweep.site)
        if not is_here():
            raise SweepError(
                "backend: slurm, and this machine has no SLURM (no sbatch): run thermolion on a "
                "login node of the cluster, bring one up with `thermolion cluster up`, or use "
                "the local backend"
            )
        for ranks in sorted({trial.world_size for trial in study.trials}):
            limits.check(self._facts, site, resources(study, ranks))
        limits.check_visible(study.layout.root, site)

    def arrange(self, load: Load) -> Sequence[Lot]:
        """Return lots of at most MaxArraySize packs, sized by the time that trials take."""
        if load.lanes is not None:
            raise SweepError(
                "--lanes is for this machine: on SLURM, `limits.concurrent` says how many trials "
                "run at a time, and `pack.trials_per_gpu` how many share a job"
            )
        site = read_site(load.study.sweep.site)
        packs = sized_packs(load.trials, _measure(load, site), load.suspects, load.code)
        size = self._array_size(site)
        alike: dict[int, list[tuple[Trial, ...]]] = {}
        for pack in packs:
            alike.setdefault(pack[0].world_size, []).append(pack)
        return [
            self._lot(resources(load.study, ranks), load.study, site, group[start : start + size])
            for ranks, group in alike.items()
            for start in range(0, len(group), size)
        ]

    def submit(self, layout: Layout, submissions: Sequence[Submission]) -> None:
        """Send what the limits allow; the rest goes by itself, or with the next call.

        Frees what SLURM has held by itself, as seen at the last look at the states.
        """
        orders = read_orders(layout)
        if self._stuck:
            control.free(self._stuck)
            self._stuck = []
            self._watch.forget()
        if not any(order.waits for order in orders):
            return
        from slurm.feed import Feeding  # loads submitit, which looking does not need

        Feeding(orders, self._queue(orders)).feed()

    def waits(self, layout: Layout) -> bool:
        """Whether something is not with SLURM yet, or may not be, or is stuck there."""
        return bool(self._stuck) or any(order.waits for order in read_orders(layout))

    def states(
        self, layout: Layout, submissions: Sequence[Submission]
    ) -> Mapping[str, Mapping[int, JobState]]:
        """Return the state of every pack; asks squeue once, and only where somebody may live."""
        orders = _orders(layout, submissions)
        found = {order.submission: progress.recorded(order) for order in orders}
        self._silence = None
        queue = Queue((), 0.0)
        if any(state is None for states in found.values() for state in states.values()):
            try:
                queue = self._queue(orders)
            except SlurmError as error:
                self._silence = str(error)
                return {name: _believed(states) for name, states in found.items()}
        self._stuck = [job for order in orders for job in control.stuck(order, queue)]
        return {o.submission: progress.asked(o, found[o.submission], queue) for o in orders}

    def cancel(
        self, layout: Layout, submission: Submission, packs: Collection[int] | None = None
    ) -> None:
        """Stop jobs, and never send what has not been; returns once they are out of the queue."""
        (order,) = _orders(layout, [submission])
        control.cancel(order, packs, lambda: read_queue({order.user}))
        self._watch.forget()

    def hold(
        self, layout: Layout, submission: Submission, packs: Collection[int], hold: bool
    ) -> int:
        """Keep jobs that have not started from starting, or let them; return how many."""
        (order,) = _orders(layout, [submission])
        count = control.hold(order, packs, hold, lambda: read_queue({order.user}))
        self._watch.forget()
        return count

    def notes(self, layout: Layout, submissions: Sequence[Submission]) -> Sequence[str]:
        """Say what is not with SLURM yet, and how it gets there."""
        if self._silence is not None:
            return [f"SLURM does not answer, its jobs are taken for alive: {self._silence}"]
        orders = _orders(layout, submissions)
        waiting = [order for order in orders if order.waits]
        unsent = sum(len(order.unsent()) for order in waiting)
        if not waiting:
            return []
        if all(order.chunks.is_held for order in waiting):
            return [f"{unsent} jobs are held back: thermolion release {layout.study}"]
        by_itself = all(order.feeder is not None for order in waiting)
        how = "as room is made in it" if by_itself else "with the next `thermolion submit`"
        return [f"{unsent} jobs are not in the queue yet, which is full for you: they go {how}"]

    @cached_property
    def _facts(self) -> Facts:
        return read_facts(user_name())

    def _queue(self, orders: Sequence[Order]) -> Queue:
        every_s = min(order.status_every_s for order in orders)
        # Known first, then asked: see Queue.
        return self._watch.look({order.user for order in orders}, every_s, known_jobs(orders))

    def _array_size(self, site: Site) -> int:
        return site.max_array_size or (self._facts.max_array_size if is_here() else _ARRAY)

    def _lot(
        self, asked: Resources, study: Study, site: Site, packs: Sequence[Sequence[Trial]]
    ) -> Lot:
        concurrent = study.sweep.concurrent
        lanes = asked.lanes * len(packs)
        jobs = None if concurrent is None else concurrent // asked.lanes
        cap = site.submit_cap or (self._facts.submit_cap if is_here() else None)

        def request(folder: Path) -> Mapping[str, Any]:
            feeder = feeder_request(folder, study.layout.root, study.layout.study, site)
            return {
                "site": site.name,
                "job": job_request(folder, asked, site).to_json(),
                "feeder": feeder.to_json() if site.sbatch_on_nodes else None,
                "concurrent": jobs,
                "submit_cap": cap,
                "lanes": asked.lanes,
                "cpu_fallback": site.cpu_fallback,
                "status_every_s": site.status_every_s,
            }

        return Lot(packs, lanes if concurrent is None else min(lanes, concurrent), request)


def resources(study: Study, ranks: int = 1) -> Resources:
    """Return what one job of a study is given whose trials have `ranks` processes each.

    Raises SweepError where they do not fill the nodes that they are spread over, and where a job
    would run more trials at a time than the study may.
    """
    sweep, lanes = study.sweep, study.sweep.packing.lanes
    if ranks > 1 and lanes > 1:
        raise SweepError(
            f"pack.trials_per_gpu is {lanes}, and a trial spans {ranks} processes: several trials "
            "share a GPU only where each is one process"
        )
    if sweep.concurrent is not None and sweep.concurrent < lanes:
        raise SweepError(
            f"limits.concurrent is {sweep.concurrent}, and a job runs {lanes} trials at a time "
            "(pack.trials_per_gpu): raise the one or lower the other"
        )
    nodes = max(1, ranks // sweep.tasks_per_node)
    if ranks > sweep.tasks_per_node and ranks % sweep.tasks_per_node:
        raise SweepError(
            f"{ranks} ranks do not fill nodes of {sweep.tasks_per_node}: let `ranks` of the "
            "workload be a multiple of it"
        )
    here = ranks // nodes
    return Resources(
        nodes=nodes,
        tasks_per_node=here * lanes,
        gpus_per_node=here if sweep.gpus_per_node else 0,
        cpus_per_task=sweep.threads,
        lanes=lanes,
        time_min=sweep.time_min,
        mem=sweep.mem,
    )


def _believed(states: Mapping[int, JobState | None]) -> Mapping[int, JobState]:
    """Return states where nobody answers: a trial is better waited for than trained twice."""
    return {pack: state or "running" for pack, state in states.items()}


def _measure(load: Load, site: Site) -> Measure:
    sweep = load.study.sweep
    seconds: Mapping[str, float | None] = trial_seconds(load.outcomes, sweep.device)
    if sweep.packing.trial_s is not None:
        seconds = dict.fromkeys(seconds, sweep.packing.trial_s)
    time_min = sweep.time_min or site.time_min
    most = None if time_min is None else max(0.0, 60 * time_min * (1 - _MARGIN) - site.grace_s)
    return Measure(seconds, sweep.packing.lanes, sweep.packing.at_least_s, most)


def _orders(layout: Layout, submissions: Sequence[Submission]) -> list[Order]:
    return [Order.of(layout, submission.to_json()) for submission in submissions]
