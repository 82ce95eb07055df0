"""This machine as a backend: a detached pool of processes, which outlives the terminal."""

import os
from collections.abc import Sequence

from orchestrator.backends.base import Load, Lot
from orchestrator.backends.detached import Detached
from orchestrator.backends.pool import count_gpus
from orchestrator.cluster_keys import PackKeys
from orchestrator.packs import make_packs
from orchestrator.ray_keys import RayKeys
from orchestrator.study import Study
from orchestrator.sweep_file import SweepError


def lanes_here(study: Study) -> int:
    """Return how many trials of a study this machine runs at once, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    given = study.sweep.keys.resources
    lanes = max(1, (cores or 1) // given.cpus_per_task)
    return min(lanes, max(1, count_gpus())) if given.device == "cuda" else lanes


class LocalBackend(Detached):
    """Runs packs as on a cluster: one process a pack, at most `lanes` at a time."""

    def check(self, study: Study) -> None:
        """Raise SweepError for more cores or GPUs than this machine has."""
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
        if given.device == "cuda" and not gpus:
            raise SweepError(
                "resources.gpus_per_node is set and this machine shows no GPU (nvidia-smi -L "
                "lists none): set it to 0 to train on the CPU"
            )

    def ignored(self, study: Study) -> Sequence[str]:
        """Return the keys for clusters: one machine has no queue, no limits and no partitions."""
        keys = study.sweep.keys
        named = {
            "site": keys.site is not None,
            "ray": keys.ray != RayKeys(),
            "pack": keys.pack != PackKeys(),
            "resources.time": keys.resources.time_min is not None,
            "resources.mem": keys.resources.mem is not None,
        }
        return [key for key, is_set in named.items() if is_set]

    def arrange(self, load: Load) -> Sequence[Lot]:
        """Return one lot, with packs for as many lanes as this machine has."""
        lanes = load.lanes or lanes_here(load.study)
        concurrent = load.study.sweep.keys.limits.concurrent
        if concurrent is not None:
            most = max((trial.world_size for trial in load.trials), default=1)
            lanes = min(lanes, concurrent * most)
        packs = make_packs(load.trials, lanes, load.suspects, load.code)
        ranks = sum(pack[0].world_size for pack in packs)
        return [Lot(packs, min(lanes, max(1, ranks)))]
