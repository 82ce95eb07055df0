"""What one job of a study is given on a cluster: by its sweep, and by what a trial needs beyond.

Asks nobody and sends nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.backends.base import Need
from orchestrator.study import Study
from orchestrator.sweep_file import SweepError
from slurm import limits
from slurm.facts import Facts
from slurm.resources import Resources
from slurm.site import Site


def resources(study: Study, ranks: int = 1) -> Resources:
    """Return what one job of a study is given whose trials have `ranks` processes each.

    Raises SweepError where they do not fill the nodes that they are spread over, and where a job
    would run more trials at a time than the study may.
    """
    keys = study.sweep.keys
    given, lanes = keys.resources, keys.pack.trials_per_gpu
    if ranks > 1 and lanes > 1:
        raise SweepError(
            f"pack.trials_per_gpu is {lanes}, and a trial spans {ranks} processes: several trials "
            "share a GPU only where each is one process"
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
    return Resources(
        nodes=nodes,
        tasks_per_node=here * lanes,
        gpus_per_node=here if given.gpus_per_node else 0,
        cpus_per_task=given.cpus_per_task,
        lanes=lanes,
        time_min=given.time_min,
        mem=given.mem,
    )


def scaled(
    asked: Resources, need: Need, bad_nodes: Sequence[str], site: Site, facts: Facts | None
) -> Resources:
    """Return resources as a need and the site's dead nodes change them.

    `facts` are None where there is no SLURM to ask. Raises SweepError or SiteError where there is
    no such time.
    """
    if need.mem != 1:
        asked = replace(asked, mem=limits.more_memory(facts, site, asked, need.mem))
    if need.time != 1:
        time_min = asked.time_min or site.time_min
        if time_min is None:
            raise SweepError("--time has nothing to multiply: set resources.time in the sweep")
        asked = replace(asked, time_min=math.ceil(time_min * need.time))
    left_out = limits.sparable(facts, site, asked, bad_nodes)
    asked = replace(asked, exclude=left_out, begin_s=math.ceil(need.backoff_s))
    if facts is not None and need.time != 1:
        limits.check(facts, site, asked)
    return asked
