"""Ray as a backend: trials in lanes that Ray Tune hands out, here or where a Ray runs already.

Loads no Ray: that is for the driver, a process of its own.
"""

from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jobs.failures import JobEnd
from jobs.layout import Layout
from orchestrator.backends.base import JobState, Load, Lot
from orchestrator.backends.detached import Detached
from orchestrator.backends.local import LocalBackend, lanes_here
from orchestrator.backends.pool import count_gpus, exit_code, pool_process
from orchestrator.backends.ray_allocation import (
    allocation_request,
    allocation_resources,
    check_allocation,
)
from orchestrator.backends.ray_marks import Marks
from orchestrator.backends.ray_session import check_answers, sweep_up
from orchestrator.backends.records import BackendError, Submission, read_submissions
from orchestrator.backends.slurm import SlurmBackend
from orchestrator.cluster_keys import PackKeys
from orchestrator.packs import make_packs
from orchestrator.study import Study
from orchestrator.sweep_file import SweepError
from slurm.order import allocation

_LEAST = (2, 52)


class RayBackend(Detached):
    """Runs packs in actors of Ray, which are used again; one driver works for a submission."""

    module = "orchestrator.backends.ray_driver"

    def __init__(self) -> None:
        self._slurm = SlurmBackend()  # it remembers the queue that it has seen, for our jobs alone

    def check(self, study: Study) -> None:
        """Raise SweepError for an absent Ray, an address without one, or too few cores."""
        if not _is_installed():
            raise SweepError(
                "backend: ray, and Ray is not installed: pip install 'thermolion[ray]', or use "
                "the local backend"
            )
        if _version() < _LEAST:
            raise SweepError(
                f"backend: ray, and Ray {version('ray')} lets everybody in who reaches its port: "
                "pip install --upgrade 'thermolion[ray]' (2.52 or later asks for a token)"
            )
        address = study.sweep.keys.ray.address
        if study.sweep.keys.ray.on is not None:
            check_allocation(study)
            return
        if address is None:
            LocalBackend().check(study)
            return
        try:
            check_answers(address)
        except BackendError as error:
            raise SweepError(f"ray.address: {error}") from error

    def ignored(self, study: Study) -> Sequence[str]:
        """Return the keys that Ray has no queue, no time and no memory for."""
        keys, in_a_job = study.sweep.keys, study.sweep.keys.ray.on is not None
        lanes_alone = PackKeys(trials_per_gpu=keys.pack.trials_per_gpu)
        named = {
            "pack.at_least or pack.trial_takes": keys.pack != lanes_alone,
            "site": not in_a_job and keys.site is not None,
            "resources.time": not in_a_job and keys.resources.time_min is not None,
            "resources.mem": not in_a_job and keys.resources.mem is not None,
        }
        return [key for key, is_set in named.items() if is_set]

    def survives_us(self, study: Study) -> bool:
        """Whether it runs in a job of SLURM's."""
        return study.sweep.keys.ray.on is not None

    def arrange(self, load: Load) -> Sequence[Lot]:
        """Return one lot. A trial of one rank is a pack: a lane needs no new process for it."""
        study = load.study
        most = max((trial.world_size for trial in load.trials), default=1)
        lanes, at_a_time = load.lanes or _lanes(load), load.lanes
        concurrent = study.sweep.keys.limits.concurrent
        if concurrent is not None:
            lanes = min(lanes, concurrent * most)
            at_a_time = min(at_a_time or concurrent, concurrent)
        shared = [trial for trial in load.trials if trial.world_size > 1]
        alone = [(trial,) for trial in load.trials if trial.world_size == 1]
        packs = [*alone, *make_packs(shared, lanes, load.suspects, load.code)]

        def request(folder: Path) -> Mapping[str, Any]:
            return _request(load, max(lanes, most), at_a_time, folder)

        ranks = sum(pack[0].world_size for pack in packs)
        return [Lot(packs, min(lanes, max(1, ranks)), request)]

    def submit(self, layout: Layout, submissions: Sequence[Submission]) -> None:
        """Start a driver for every submission, and clear up after those that were killed."""
        new = {submission.id for submission in submissions}
        for earlier in _of_ray(layout):
            folder = layout.submission(earlier.id)
            if earlier.id not in new and not _in_a_job(earlier) and pool_process(folder) is None:
                sweep_up(Marks(folder))
        super().submit(layout, [s for s in submissions if not _in_a_job(s)])
        within = [submission for submission in _of_ray(layout) if _in_a_job(submission)]
        for submission in within:
            layout.submission(_job(submission).id).mkdir(exist_ok=True)
        if within:
            self._slurm.submit(layout, [])

    def waits(self, layout: Layout) -> bool:
        """Whether a job is not with SLURM yet, or may not be, or waits there in vain."""
        return any(map(_in_a_job, _of_ray(layout))) and self._slurm.waits(layout)

    def states(
        self, layout: Layout, submissions: Sequence[Submission]
    ) -> Mapping[str, Mapping[int, JobState]]:
        """Return the state of every pack."""
        found = dict(super().states(layout, [s for s in submissions if not _in_a_job(s)]))
        within = [submission for submission in submissions if _in_a_job(submission)]
        jobs = self._slurm.states(layout, list(map(_job, within))) if within else {}
        for submission in within:
            (job,) = jobs[_job(submission).id].values()
            found[submission.id] = {
                pack: _within(layout, submission, pack, job) for pack in range(submission.packs)
            }
        return found

    def ends(
        self, layout: Layout, submissions: Sequence[Submission]
    ) -> Mapping[tuple[str, int], JobEnd]:
        """Return how packs ended that left no word, and why others never began."""
        found: dict[tuple[str, int], JobEnd] = {}
        within = [submission for submission in submissions if _in_a_job(submission)]
        jobs = self._slurm.ends(layout, list(map(_job, within))) if within else {}
        for submission in within:
            end = jobs.get((_job(submission).id, 0))
            for pack in range(submission.packs if end is not None else 0):
                unended = exit_code(layout, submission.id, pack) is None
                if end is not None and unended and _concerns(layout, submission, pack, end):
                    found[submission.id, pack] = end
        found |= super().ends(layout, [s for s in submissions if not _in_a_job(s)])
        for submission in submissions:
            trouble = Marks(layout.submission(submission.id)).trouble()
            for pack in range(submission.packs if trouble else 0):
                if not layout.job_output(submission.id, pack).exists():
                    end = JobEnd("NEVER_STARTED", trouble or "", None)
                    found.setdefault((submission.id, pack), end)
        return found

    def cancel(
        self, layout: Layout, submission: Submission, packs: Collection[int] | None = None
    ) -> None:
        """Let the running trials stop at their next step and wait for the driver's end."""
        if not _in_a_job(submission):
            super().cancel(layout, submission, packs)
            sweep_up(Marks(layout.submission(submission.id)))
        else:
            _as_a_whole(submission, packs, "cancel")
            self._slurm.cancel(layout, _job(submission))

    def hold(
        self, layout: Layout, submission: Submission, packs: Collection[int], hold: bool
    ) -> int:
        """Keep the job from starting, or let it; raises BackendError where there is none."""
        if not _in_a_job(submission):
            return super().hold(layout, submission, packs, hold)
        _as_a_whole(submission, packs, "hold")
        return self._slurm.hold(layout, _job(submission), [0], hold)

    def notes(self, layout: Layout, submissions: Sequence[Submission]) -> Sequence[str]:
        """Say what is not with SLURM yet, and how it gets there."""
        within = [_job(submission) for submission in submissions if _in_a_job(submission)]
        return self._slurm.notes(layout, within) if within else []


def _of_ray(layout: Layout) -> list[Submission]:
    return [one for one in read_submissions(layout) if one.backend == "ray"]


def _in_a_job(submission: Submission) -> bool:
    return bool((submission.request or {}).get("allocation"))


def _job(submission: Submission) -> Submission:
    """Return the one job of a submission, as if it were one to SLURM."""
    return Submission(**allocation(submission.to_json()))


def _within(layout: Layout, submission: Submission, pack: int, job: JobState) -> JobState:
    if job == "ended" or exit_code(layout, submission.id, pack) is not None:
        return "ended"
    begun = job == "running" and layout.job_output(submission.id, pack).exists()
    return "running" if begun else "queued"


def _concerns(layout: Layout, submission: Submission, pack: int, end: JobEnd) -> bool:
    """Whether the end of the job is that of a pack: of one that had begun, unless none could."""
    return end.failure == "NEVER_STARTED" or layout.job_output(submission.id, pack).exists()


def _as_a_whole(submission: Submission, packs: Collection[int] | None, verb: str) -> None:
    if packs is not None and set(packs) != set(range(submission.packs)):
        raise BackendError(
            f"submission {submission.id} runs in one job: {verb} the study, not some of its trials"
        )


def _is_installed() -> bool:
    try:
        return find_spec("ray") is not None
    except ValueError:  # of one that was shut out
        return False


def _version() -> tuple[int, ...]:
    """Return the first two numbers of Ray's version, without loading it."""
    return tuple(int(number) for number in version("ray").split(".")[:2])


def _lanes(load: Load) -> int:
    """Return how many ranks may run at once; several may share a GPU."""
    keys = load.study.sweep.keys
    if keys.ray.on is not None:
        asked = allocation_resources(load.study)
        share = asked.gpus_per_node * keys.pack.trials_per_gpu
        return asked.nodes * (share or asked.cpus_per_task // keys.resources.cpus_per_task)
    if keys.ray.address is not None:
        return sum(trial.world_size for trial in load.trials)  # nobody has said how large it is
    if keys.resources.device == "cpu":
        return lanes_here(load.study)
    return max(1, count_gpus()) * keys.pack.trials_per_gpu


def _request(load: Load, lanes: int, at_a_time: int | None, folder: Path) -> Mapping[str, Any]:
    keys = load.study.sweep.keys
    cuda = keys.resources.device == "cuda"
    said = {
        "address": keys.ray.address,
        "dashboard": keys.ray.dashboard,
        "cpus": lanes * keys.resources.cpus_per_task,
        "gpus": count_gpus() if cuda else 0,
        "gpus_each": 1 / keys.pack.trials_per_gpu if cuda else 0.0,
        "at_a_time": at_a_time,
    }
    if keys.ray.on is None:
        return said
    asked = allocation_resources(load.study)
    return said | {
        "cpus": asked.cpus_per_task,
        "gpus": asked.gpus_per_node,
        "nodes_within_s": keys.ray.nodes_within,
        "allocation": allocation_request(load, folder),
    }
