"""Ray as a backend: Ray Tune gives packs to lanes, on this machine or on a Ray that runs already.

Does not load Ray: the driver does, which is a separate process.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jobs.contract.failures import JobEnd
from jobs.contract.layout import Layout
from orchestrator.backends.base import JobEnds, PlacementRequest, SubmissionPlan
from orchestrator.backends.local import DetachedBackend, LocalBackend, count_lanes
from orchestrator.backends.pool import count_gpus, find_pool
from orchestrator.backends.ray.session import check_listens, clean_up
from orchestrator.backends.ray.signals import LaneSignals
from orchestrator.backends.records import BackendError, Submission, read_submissions
from orchestrator.study.packs import make_packs
from orchestrator.study.study import Study
from orchestrator.sweep.document import SweepError
from orchestrator.sweep.keys import PackKeys

_LEAST = (2, 52)


class RayBackend(DetachedBackend):
    """Runs packs in actors of Ray, which are reused; there is one driver for each submission."""

    module = "orchestrator.backends.ray.driver"

    def check(self, study: Study) -> None:
        """Raise SweepError if Ray is not installed or not at the address, or cores are too few."""
        check_installed()
        address = study.sweep.keys.ray.address
        if address is None:
            LocalBackend().check(study)
            return
        try:
            check_listens(address)
        except BackendError as error:
            raise SweepError(f"ray.address: {error}") from error

    def ignored(self, study: Study) -> Sequence[str]:
        """Return the keys for clusters: Ray has no queue, no time limit and no memory limit."""
        keys = study.sweep.keys
        named = {
            "site": keys.site is not None,
            "limits.gpu_hours or limits.cpu_hours": keys.limits.is_capped,
            "resources.time": keys.resources.time_min is not None,
            "resources.mem": keys.resources.mem is not None,
        }
        return [*list_ignored(study), *(key for key, is_set in named.items() if is_set)]

    def place(self, request: PlacementRequest) -> Sequence[SubmissionPlan]:
        """Return one plan; a trial of one rank is a pack, as a lane starts no process for it."""

        def backend_request(lanes: int, at_a_time: int | None, _folder: Path) -> Mapping[str, Any]:
            given = request.study.sweep.keys.resources
            gpus = count_gpus() if given.device == "cuda" else 0
            return make_request(request, lanes * given.cpus_per_task, gpus, at_a_time)

        return [plan_packs(request, _count_ranks(request), backend_request)]

    def submit(self, layout: Layout, submissions: Sequence[Submission]) -> None:
        """Start a driver for every submission, and remove what killed drivers have left."""
        new = {submission.id for submission in submissions}
        for earlier in read_submissions(layout):
            folder = layout.submission(earlier.id)
            is_ours = earlier.backend == "ray" and not earlier.in_a_job
            if is_ours and earlier.id not in new and find_pool(folder) is None:
                clean_up(LaneSignals(folder))
        super().submit(layout, submissions)

    def ends(self, layout: Layout, submissions: Sequence[Submission]) -> JobEnds:
        """Return how packs died, and why others never began."""
        return {**find_unstarted(layout, submissions), **super().ends(layout, submissions)}

    def cancel(
        self, layout: Layout, submission: Submission, packs: Collection[int] | None = None
    ) -> None:
        """Let the running trials stop at their next step; return once the driver has ended."""
        super().cancel(layout, submission, packs)
        clean_up(LaneSignals(layout.submission(submission.id)))


def check_installed() -> None:
    """Raise SweepError if Ray is not installed, or is too old to ask for a token."""
    if not _is_installed():
        raise SweepError(
            "backend: ray, and Ray is not installed: pip install 'thermolion[ray]', or use "
            "the local backend"
        )
    if _read_version() < _LEAST:
        raise SweepError(
            f"backend: ray, and Ray {version('ray')} lets everybody in who reaches its port: "
            "pip install --upgrade 'thermolion[ray]' (2.52 or later asks for a token)"
        )


def list_ignored(study: Study) -> Sequence[str]:
    """Return the keys that have no effect on any Ray, wherever it runs."""
    pack = study.sweep.keys.pack
    named = {
        "pack.at_least or pack.trial_takes": pack != PackKeys(trials_per_gpu=pack.trials_per_gpu),
        "resources.each": bool(study.sweep.keys.resources.each),
        "blocks.same": study.sweep.keys.blocks.same is not None,
    }
    return [key for key, is_set in named.items() if is_set]


def plan_packs(
    request: PlacementRequest,
    most_lanes: int,
    backend_request: Callable[[int, int | None, Path], Mapping[str, Any]],
) -> SubmissionPlan:
    """Return the packs of a submission to Ray, on `most_lanes` unless the user says how many.

    `backend_request` takes the ranks that there has to be room for, the packs that run at a time
    (None: any number), and the folder of the submission.
    """
    concurrent = request.study.sweep.keys.limits.concurrent
    most = max((trial.world_size for trial in request.trials), default=1)
    lanes, at_a_time = request.lanes or most_lanes, request.lanes
    if concurrent is not None:
        lanes = min(lanes, concurrent * most)
        at_a_time = min(at_a_time or concurrent, concurrent)
    shared = [trial for trial in request.trials if trial.world_size > 1]
    alone = [(trial,) for trial in request.trials if trial.world_size == 1]
    packs = [*alone, *make_packs(shared, lanes, request.suspects, request.code)]
    ranks = sum(pack[0].world_size for pack in packs)
    room = max(lanes, most)
    return SubmissionPlan(
        packs, min(lanes, max(1, ranks)), lambda folder: backend_request(room, at_a_time, folder)
    )


def make_request(
    request: PlacementRequest, cpus: int, gpus: int, at_a_time: int | None
) -> Mapping[str, Any]:
    """Return what a driver has to know of its Ray, which has `cpus` and `gpus` on each node."""
    keys = request.study.sweep.keys
    return {
        "address": keys.ray.address,
        "dashboard": keys.ray.dashboard,
        "cpus": cpus,
        "gpus": gpus,
        "gpus_each": 1 / keys.pack.trials_per_gpu if keys.resources.device == "cuda" else 0.0,
        "at_a_time": at_a_time,
    }


def find_unstarted(layout: Layout, submissions: Sequence[Submission]) -> JobEnds:
    """Return, by submission and pack, the ends of packs for which no lane could be started."""
    ends = {}
    for submission in submissions:
        trouble = LaneSignals(layout.submission(submission.id)).read_trouble()
        for pack in range(submission.packs if trouble else 0):
            if not layout.job_output(submission.id, pack).exists():
                ends[submission.id, pack] = JobEnd("NEVER_STARTED", trouble or "", None)
    return ends


def _is_installed() -> bool:
    try:
        return find_spec("ray") is not None
    except ValueError:  # of a module that is blocked
        return False


def _read_version() -> tuple[int, ...]:
    """Return the first two numbers of Ray's version, without loading it."""
    return tuple(int(number) for number in version("ray").split(".")[:2])


def _count_ranks(request: PlacementRequest) -> int:
    """Return the number of ranks that may run at once; several may share a GPU."""
    keys = request.study.sweep.keys
    if keys.ray.address is not None:
        return sum(trial.world_size for trial in request.trials)  # its size is not known here
    if keys.resources.device == "cpu":
        return count_lanes(request.study)
    return max(1, count_gpus()) * keys.pack.trials_per_gpu
