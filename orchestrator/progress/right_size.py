"""What jobs were given beside what they have used, once a block of the study is done.

Asks no scheduler: jobs write down themselves what they use.
"""

import math
from dataclasses import dataclass

from orchestrator.progress.status import Status
from orchestrator.study.study import Study
from slurm.hours_cap import read_allotment, read_pack_runs
from slurm.job_hours import JobRun
from slurm.site.own_options import memory_of_node
from slurm.submission import SlurmSubmission, read_slurm_submissions

_TWICE = 2.0  # what is asked for has to be that much above what is used to be worth a word
_SPARE = 1.5  # of the most that was used, to propose
_LEAST_MB = 512
_LEAST_MIN = 5
_MOST_SHARED = 8  # trials on one GPU; with more, each only waits for the others
_CONTEXT_MB = 600  # of a process on a GPU, beside what torch has allocated


@dataclass(frozen=True)
class RightSize:
    """The most that jobs have used beside what each is given; None if it is unknown.

    Times in minutes, memory of a node in MB; `busy` is how many of its CPUs a job kept busy. Of a
    GPU with `given_gpu_mb`, each of the `trials_per_gpu` trials has used `gpu_mb` at most.
    """

    jobs: int
    time_min: float
    given_min: int | None
    memory_mb: float | None
    given_mb: float | None
    busy: float | None
    cpus: int
    cpus_per_task: int
    gpu_mb: float | None
    given_gpu_mb: float | None
    trials_per_gpu: int

    @property
    def shared(self) -> int | None:
        """How many trials fit on a GPU; None if not twice as many as run on it now."""
        if self.gpu_mb is None or self.given_gpu_mb is None:
            return None
        fit = int(self.given_gpu_mb / (_SPARE * self.gpu_mb + _CONTEXT_MB))
        return min(fit, _MOST_SHARED) if fit >= _TWICE * self.trials_per_gpu else None

    @property
    def lines(self) -> dict[str, str]:
        """The lines of `resources` that would fit better, by key; empty if all fit."""
        better = {}
        if self.given_min is not None and self.given_min > _TWICE * max(self.time_min, _LEAST_MIN):
            better["time"] = f"{max(_LEAST_MIN, math.ceil(_SPARE * self.time_min))}min"
        if self.memory_mb is not None and self.given_mb is not None:
            wanted = max(_LEAST_MB, _SPARE * self.memory_mb)
            if self.given_mb > _TWICE * wanted or self.given_mb < self.memory_mb:
                better["mem"] = f"{math.ceil(wanted / 256) * 256}M"
        if self.busy is not None and self.cpus_per_task > 1:
            share = self.busy / self.cpus * self.cpus_per_task
            if share < self.cpus_per_task / _TWICE:
                better["cpus_per_task"] = f"{max(1, math.ceil(share))}"
        return better


def find_right_size(study: Study, status: Status) -> RightSize | None:
    """Compare asked with used; None before a block is done, and outside SLURM."""
    submissions = read_slurm_submissions(study.layout)
    if not submissions or not _has_done_block(status):
        return None
    last = submissions[-1]
    ended = [run for one in submissions for run in _list_ended(one)]
    if not ended:
        return None
    given, parameters = read_allotment(last), last.job.parameters
    busy = [run.cpu_s / run.seconds for run in ended if run.cpu_s and run.seconds]
    memory = [run.memory_mb for run in ended if run.memory_mb is not None]
    cpus = parameters["ntasks_per_node"] * parameters.get("cpus_per_task", 1)
    gpus = given.gpus // parameters["nodes"]
    ranks = parameters["ntasks_per_node"] if last.lanes == 1 else 1  # rank 0 speaks for all
    single = [one for one in status.outcomes if one.trial.world_size == 1]  # others share none
    gpu_mb = [one.peak_memory_mb for one in single if one.peak_memory_mb]
    known = [(one.job or {}).get("device_memory_mb") for one in single if one.peak_memory_mb]
    given_gpu_mb = [mb for mb in known if mb]
    return RightSize(
        jobs=len(ended),
        time_min=max(run.seconds or 0.0 for run in ended) / 60,
        given_min=given.time_min,
        memory_mb=max(memory) * ranks if memory else None,
        given_mb=memory_of_node(parameters["additional_parameters"], cpus, gpus),
        busy=max(busy) * ranks * parameters["nodes"] if busy else None,
        cpus=given.cpus,
        cpus_per_task=study.sweep.keys.resources.cpus_per_task,
        gpu_mb=max(gpu_mb) if gpu_mb else None,
        given_gpu_mb=min(given_gpu_mb) if given_gpu_mb else None,
        trials_per_gpu=study.sweep.keys.pack.trials_per_gpu,
    )


def _list_ended(submission: SlurmSubmission) -> list[JobRun]:
    runs = [of_pack.runs for of_pack in read_pack_runs(submission).values()]
    return [run for of_pack in runs for run in of_pack if run.seconds and run.cpu_s is not None]


def _has_done_block(status: Status) -> bool:
    blocks: dict[tuple[str, str, int], bool] = {}
    for outcome in status.wanted:
        key = outcome.trial.phase, outcome.trial.workload.key, outcome.trial.block
        blocks[key] = blocks.get(key, True) and outcome.has_result
    return any(blocks.values())
