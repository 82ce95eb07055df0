"""The SLURM job in which a submission on Ray runs its packs, as a request; sends nothing."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.process import user_name
from orchestrator.backends.base import Load, Need
from orchestrator.backends.job_resources import scaled
from orchestrator.site_file import read_site
from orchestrator.study import Study
from orchestrator.sweep_file import SweepError
from slurm import limits
from slurm.commands import is_here
from slurm.facts import read_facts
from slurm.order import ALLOCATION
from slurm.resources import Resources, feeder_request, job_request

_MODULE = "orchestrator.backends.ray_node"
_AFTER = "orchestrator.unattended"


def allocation_resources(study: Study, ranks: int | None = None) -> Resources:
    """Return the resources of the job: one process a node, with all of its share of CPUs.

    `ranks` are the most of a trial, None for those that are planned by now. Raises SweepError
    where a trial does not fit into it.
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
    return Resources(
        nodes=nodes,
        gpus_per_node=given.gpus_per_node,
        cpus_per_task=cpus,
        time_min=given.time_min,
        mem=given.mem,
    )


def check_allocation(study: Study) -> None:
    """Raise SiteError or SweepError for what the site would refuse or never start."""
    site = read_site(study.sweep.keys.site)
    asked = [allocation_resources(study, ranks) for ranks in study.ranks]  # of all phases
    if not is_here():
        raise SweepError(
            "ray.on: slurm, and this machine has no SLURM (no sbatch): run thermolion on a login "
            "node of the cluster, or bring one up with `thermolion cluster up`"
        )
    facts = read_facts(user_name())
    for each in asked:
        limits.check(facts, site, each)
    limits.check_visible(study.layout.root, site)


def allocation_request(load: Load, folder: Path) -> Mapping[str, Any]:
    """Return what SLURM is asked for, in the words of a submission to it; `folder` is Ray's."""
    study = load.study
    layout, site = study.layout, read_site(study.sweep.keys.site)
    facts = read_facts(user_name()) if is_here() else None
    needs = [load.needs.get(trial.id, Need()) for trial in load.trials] or [Need()]
    need = Need(*(max(values) for values in zip(*map(_figures, needs), strict=True)))
    asked = scaled(allocation_resources(study), need, load.bad_nodes, site, facts)
    job = folder.with_name(f"{folder.name}{ALLOCATION}")
    after = feeder_request(job, layout.root, layout.study, site, _AFTER)
    feeder = feeder_request(job, layout.root, layout.study, site)
    return {
        "site": site.name,
        "job": job_request(job, asked, site, _MODULE).to_json(),
        "feeder": feeder.to_json() if site.sbatch_on_nodes else None,
        "after": after.to_json() if site.sbatch_on_nodes and load.unattended else None,
        "concurrent": None,
        "submit_cap": site.submit_cap or (None if facts is None else facts.submit_cap),
        "lanes": 1,
        "cpu_fallback": site.cpu_fallback,
        "status_every_s": site.status_every_s,
    }


def _figures(need: Need) -> tuple[float, float, float]:
    return need.mem, need.time, need.backoff_s
