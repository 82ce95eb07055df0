"""This machine as a backend: one detached process for each submission outlives the terminal.

What that process does with its packs is `orchestrator.backends.pool`'s.
"""

import os
import signal
import sys
import time
from collections.abc import Collection, Sequence

from jobs.contract.failures import JobEnd
from jobs.contract.layout import Layout
from jobs.contract.lock import Process
from jobs.contract.oom_kills import OOM_SUFFIX
from orchestrator.backends.base import (
    Backend,
    JobEnds,
    JobState,
    JobStates,
    PlacementRequest,
    SubmissionPlan,
)
from orchestrator.backends.pool import (
    count_gpus,
    end_pool,
    find_pool,
    find_silence_s,
    read_exit_code,
)
from orchestrator.backends.records import BackendError, Submission
from orchestrator.study.estimate import in_words
from orchestrator.study.packs import make_packs
from orchestrator.study.study import Study
from orchestrator.sweep.document import SweepError
from orchestrator.sweep.keys import PackKeys, RayKeys

_SIGNALLED = 128  # plus its number: the exit code that shells make of a signal


class DetachedBackend(Backend):
    """Starts `module` as a detached process for every submission, with its folder as argument."""

    module = "orchestrator.backends.pool"

    def submit(self, layout: Layout, submissions: Sequence[Submission]) -> None:
        """Start a pool for every submission."""
        for submission in submissions:
            self._start(layout, submission)

    def _start(self, layout: Layout, submission: Submission) -> None:
        folder = layout.submission(submission.id)
        log = str(folder / "pool.log")
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # Not subprocess.Popen, which warns of a child that outlives it.
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "thermolion.start", self.module, str(folder)],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, append, 0o666),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        try:
            while not (folder / "pool.json").exists():
                ended, code = os.waitpid(pid, os.WNOHANG)
                if ended and code:
                    raise BackendError(f"the pool of processes did not start: see {log}")
                time.sleep(0.01)
        except KeyboardInterrupt:
            os.kill(pid, signal.SIGTERM)
            raise

    def states(self, layout: Layout, submissions: Sequence[Submission]) -> JobStates:
        """Return the state of every pack."""
        return {one.id: _states(layout, one) for one in submissions}

    def ends(self, layout: Layout, submissions: Sequence[Submission]) -> JobEnds:
        """Return how the packs ended whose processes, or whose pool, were killed."""
        ends = {}
        for submission in submissions:
            pool_lives = _pool(layout, submission) is not None
            for pack in range(submission.packs):
                end = _end(layout, submission, pack, pool_lives)
                if end is not None:
                    ends[submission.id, pack] = end
        return ends

    def unseen(self, layout: Layout, submissions: Sequence[Submission]) -> str | None:
        """Say which pools of other hosts have given no sign of life for long; None if none."""
        for one in submissions:
            silence_s = find_silence_s(layout.submission(one.id))
            if silence_s is not None:
                return (
                    f"submission {one.id} runs on {one.host} as {one.user}, and has given no sign "
                    f"of life for {in_words(silence_s)}: look there; if that machine is gone, "
                    "thermolion submit --break-lock"
                )
        return None

    def notes(self, layout: Layout, submissions: Sequence[Submission]) -> Sequence[str]:
        """Return remarks on what looks after the study, and on pools that nobody sees here."""
        unseen = self.unseen(layout, submissions)
        silent = [] if unseen is None else [f"taken for alive: {unseen}"]
        return [*super().notes(layout, submissions), *silent]

    def give_up(self, layout: Layout, submission: Submission) -> None:
        """Take a pool of another host for gone, if it has given no sign of life for long."""
        folder = layout.submission(submission.id)
        if find_silence_s(folder) is not None:
            end_pool(folder)

    def cancel(
        self, layout: Layout, submission: Submission, packs: Collection[int] | None = None
    ) -> None:
        """Let the running trials stop at their next step; return once the pool has ended.

        Raises BackendError if the pool runs on another host, and for a part of the packs.
        """
        if packs is not None and set(packs) != set(range(submission.packs)):
            raise BackendError(
                f"submission {submission.id} runs on this machine as a whole: cancel the study, "
                "then submit what you want"
            )
        pool = _pool(layout, submission)
        if pool is None:
            return
        if not pool.is_here:
            raise BackendError(
                f"submission {submission.id} runs on {pool.host} as {submission.user}: cancel it "
                "there; if that machine is gone, thermolion submit --break-lock"
            )
        os.kill(pool.pid, signal.SIGTERM)
        while _pool(layout, submission) is not None:
            time.sleep(0.05)

    def hold(
        self, layout: Layout, submission: Submission, packs: Collection[int], hold: bool
    ) -> int:
        """Raise BackendError: there is no queue in which a job could be held."""
        raise BackendError(
            f"submission {submission.id} runs on this machine, which has no queue: cancel stops "
            "it, submit goes on"
        )


def _pool(layout: Layout, submission: Submission) -> Process | None:
    return find_pool(layout.submission(submission.id))


def _states(layout: Layout, submission: Submission) -> dict[int, JobState]:
    packs = range(submission.packs)
    if _pool(layout, submission) is None:
        return dict.fromkeys(packs, "ended")
    return {pack: _state(layout, submission, pack) for pack in packs}


def _state(layout: Layout, submission: Submission, pack: int) -> JobState:
    if read_exit_code(layout, submission.id, pack) is not None:
        return "ended"
    return "running" if layout.job_output(submission.id, pack).exists() else "queued"


def _end(layout: Layout, submission: Submission, pack: int, pool_lives: bool) -> JobEnd | None:
    output = layout.job_output(submission.id, pack)
    code = read_exit_code(layout, submission.id, pack)
    if code is None:
        died = output.exists() and not pool_lives
        return JobEnd("LOST", "its pool died with it", submission.host) if died else None
    if 0 <= code <= _SIGNALLED:
        return None
    number = -code if code < 0 else code - _SIGNALLED
    if output.with_suffix(OOM_SUFFIX).exists():
        why = f"the kernel of {submission.host} had no memory left for it"
        return JobEnd("OOM_HOST", why, submission.host)
    return JobEnd("LOST", f"its process was ended by signal {number}", submission.host)


def count_lanes(study: Study) -> int:
    """Return how many trials of a study this machine runs at once, at least one.

    As many as it has cores for; on GPUs, `pack.trials_per_gpu` on each at most.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    given = study.sweep.keys.resources
    lanes = max(1, (cores or 1) // given.cpus_per_task)
    if given.device == "cpu":
        return lanes
    return min(lanes, max(1, count_gpus()) * study.sweep.keys.pack.trials_per_gpu)


class LocalBackend(DetachedBackend):
    """Runs packs as on a cluster: one process a pack, at most `lanes` at a time."""

    def check(self, study: Study) -> None:
        """Raise SweepError if a trial needs more cores or GPUs than this machine has.

        Also if a trial of several ranks would share its GPUs with others.
        """
        given, cores = study.sweep.keys.resources, os.cpu_count() or 1
        if given.cpus_per_task > cores:
            raise SweepError(
                f"resources.cpus_per_task is {given.cpus_per_task}, this machine has {cores} cores"
            )
        gpus = count_gpus() if given.device == "cuda" else 0
        most = max(study.ranks)
        if gpus and most > gpus:
            raise SweepError(
                f"a trial has {most} ranks, and this machine {gpus} GPU{'s' * (gpus > 1)}, one a "
                "rank: lower resources (nodes x gpus_per_node) or `ranks` of the workload"
            )
        shared = study.sweep.keys.pack.trials_per_gpu
        if gpus and most > 1 and shared > 1:
            raise SweepError(
                f"pack.trials_per_gpu is {shared}, and a trial spans {most} processes: several "
                "trials share a GPU only if each is one process; leave it out, or lower `ranks` "
                "of the workload"
            )
        if given.device == "cuda" and not gpus:
            raise SweepError(
                "resources.gpus_per_node is set and this machine shows no GPU (nvidia-smi -L "
                "lists none): set it to 0 to train on the CPU"
            )

    def ignored(self, study: Study) -> Sequence[str]:
        """Return the keys for clusters: one machine has no queue, no limits and no partitions.

        On GPUs `pack` says how many trials share one.
        """
        keys = study.sweep.keys
        is_gpu, shared = keys.resources.device == "cuda", keys.pack.trials_per_gpu
        named = {
            "site": keys.site is not None,
            "limits.gpu_hours or limits.cpu_hours": keys.limits.is_capped,
            "ray": keys.ray != RayKeys(),
            "pack": not is_gpu and keys.pack != PackKeys(),
            "pack.at_least or pack.trial_takes": is_gpu
            and keys.pack != PackKeys(trials_per_gpu=shared),
            "resources.time": keys.resources.time_min is not None,
            "resources.mem": keys.resources.mem is not None,
            "blocks.same": keys.blocks.same is not None,
            "resources.each": bool(keys.resources.each),
        }
        return [key for key, is_set in named.items() if is_set]

    def place(self, request: PlacementRequest) -> Sequence[SubmissionPlan]:
        """Return one plan, with packs for as many lanes as this machine has."""
        lanes = request.lanes or count_lanes(request.study)
        concurrent = request.study.sweep.keys.limits.concurrent
        if concurrent is not None:
            most = max((trial.world_size for trial in request.trials), default=1)
            lanes = min(lanes, concurrent * most)
        packs = make_packs(request.trials, lanes, request.suspects, request.code)
        ranks = sum(pack[0].world_size for pack in packs)
        return [SubmissionPlan(packs, min(lanes, max(1, ranks)))]
