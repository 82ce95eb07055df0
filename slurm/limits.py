"""The limits of a site: what one job may ask for, and how many jobs a user may have in the queue.

Requests are checked before anything is sent; errors list the choices. Sends nothing.
"""

import difflib
import math
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from slurm.commands import ask
from slurm.hours_cap import Cap
from slurm.job_hours import Allotment
from slurm.policy import check_policy
from slurm.queue.squeue import Queue
from slurm.request import JobResources
from slurm.site.facts import USUAL_ARRAY, Facts, Partition
from slurm.site.own_options import memory_of_node, parse_megabytes
from slurm.site.site import Site
from slurm.slurm_errors import SiteError
from slurm.submission import ArrayJob, SlurmSubmission

# Folders that a machine has for itself.
_LOCAL = tuple(Path(name) for name in ("/tmp", "/var/tmp", "/dev/shm", "/run"))


def find_submit_cap(site: Site, facts: Facts | None) -> int | None:
    """Return the most jobs that the user may have in the queue, None if no such cap is known.

    The cap of the site profile goes before that of SLURM's accounting. An array task is a job.
    """
    return site.submit_cap or (None if facts is None else facts.submit_cap)


def find_array_size(site: Site, facts: Facts | None) -> int | None:
    """Return the most jobs of an array, None if the site takes none (of more than one job)."""
    size = site.max_array_size or (USUAL_ARRAY if facts is None else facts.max_array_size)
    return size if site.arrays and size > 1 else None


def count_room(submission: SlurmSubmission, queue: Queue, array_jobs: Sequence[ArrayJob]) -> int:
    """Return how many more jobs the user may have in the queue, which is as it was read.

    Of the study's `array_jobs`, those that were sent after that are counted by their tasks. If
    there is no cap, there is room for the whole submission.
    """
    if submission.submit_cap is None:
        return submission.packs
    queued = sum(job.uid == os.geteuid() for job in queue.jobs)
    seen = {*queue.known, *(job.array_job for job in queue.jobs)}
    newer = sum(array_job.count for array_job in array_jobs if array_job.id not in seen)
    return max(0, submission.submit_cap - queued - newer)


def check_request(facts: Facts, site: Site, resources: JobResources) -> None:
    """Raise SiteError for the first thing that a site would refuse, or never start.

    Of several partitions one has to take it, or all of them if the site says so.
    """
    partitions = find_partitions(facts, site)
    check_account(facts, site)
    check_federation(facts, site)
    time_min = resources.time_min or site.time_min
    if time_min and 60 * time_min <= site.grace_s:
        raise SiteError(
            f"resources.time is {time_min} min, and the site profile {site.name} has every trial "
            f"save and leave {site.grace_s} s before the end: it would leave at once, so raise "
            "the one or lower `grace`"
        )
    refusals = []
    for partition in partitions:
        try:
            _check_partition(facts, partition, site, resources, time_min)
        except SiteError as refusal:
            refusals.append(refusal)
    has_to_fit_all = facts.config.get("EnforcePartLimits", "").upper() in ("ALL", "YES")
    if refusals and (len(refusals) == len(partitions) or (site.partitions and has_to_fit_all)):
        raise refusals[0]
    check_policy(facts, site, resources)


def check_federation(facts: Facts, site: Site) -> None:
    """Raise SiteError if jobs could run on another cluster of a federation than this one."""
    if facts.federation is None:
        return
    where = f"this cluster is in the federation {facts.federation!r}, in which every job but an "
    where += "array may run on another cluster, where nobody sees this folder"
    if find_array_size(site, facts) is None:
        raise SiteError(f"{where}: send from a cluster outside of it, or with job arrays")
    if site.sbatch_on_nodes:
        raise SiteError(
            f"{where}: set sbatch_on_nodes = false in the site profile (arrays stay here; what "
            "follows goes with `thermolion run`, or the next `submit`)"
        )


def _check_partition(
    facts: Facts, partition: Partition, site: Site, resources: JobResources, time_min: int | None
) -> None:
    where = f"partition {partition.name!r}"
    if not partition.is_up:
        raise SiteError(f"{where} is down: choose from {_up(facts)}")
    if resources.nodes > partition.nodes:
        raise SiteError(
            f"a trial needs {resources.nodes} nodes ({resources.tasks} ranks, "
            f"{resources.tasks_per_node} a node), {where} has {partition.nodes}: lower "
            "resources.nodes or `ranks` of the workload, or raise resources.tasks_per_node"
        )
    if resources.gpus_per_node > partition.gpus and site.gpus != "none":
        with_them = [p.name for p in facts.partitions.values() if p.gpus]
        hint = f"; GPUs are in {', '.join(with_them)}" if with_them and not partition.gpus else ""
        raise SiteError(
            f"resources.gpus_per_node is {resources.gpus_per_node}, a node of {where} has "
            f"{partition.gpus} GPUs{hint}"
        )
    cpus = resources.cpus_per_task * resources.tasks_per_node
    if cpus > partition.cpus:
        raise SiteError(
            f"a job needs {cpus} CPUs on a node ({resources.tasks_per_node} processes x "
            f"{resources.cpus_per_task}), a node of {where} has {partition.cpus}: lower "
            "resources.cpus_per_task or pack.trials_per_gpu"
        )
    mem_mb = _given_memory(site, resources)
    if mem_mb is not None and mem_mb > partition.memory_mb:
        said = f"resources.mem is {resources.mem}"
        if resources.mem is None:
            said = f"the memory of a job on a node is {mem_mb:.0f}M by the profile {site.name}"
        raise SiteError(
            f"{said}, the largest node of {where} has "
            f"{partition.memory_mb}M: lower it (it is a node's, for all processes there)"
        )
    if time_min and partition.time_min and time_min > partition.time_min:
        raise SiteError(
            f"resources.time is {time_min} min, {where} allows {partition.time_min} min: lower "
            "it (trials go on from their checkpoints), or choose another partition in the site "
            "profile"
        )


def _given_memory(site: Site, resources: JobResources) -> float | None:
    """Return the MB that a job is given on a node, None if neither sweep nor profile says it."""
    if resources.mem is not None:
        return parse_megabytes(resources.mem)
    cpus = resources.cpus_per_task * resources.tasks_per_node
    return memory_of_node(site.options, cpus, resources.gpus_per_node)


def count_allotted(facts: Facts | None, site: Site, resources: JobResources) -> dict[str, int]:
    """Return the CPUs and the GPUs that a job is given on all of its nodes, as far as is known.

    A cluster that hands out whole nodes gives all that they have.
    """
    cpus = resources.cpus_per_task * resources.tasks
    gpus = resources.gpus_per_node * resources.nodes
    if facts is not None and "linear" in facts.config.get("SelectType", ""):
        partition = find_partition(facts, site)
        cpus = max(cpus, partition.cpus * resources.nodes)
        gpus = max(gpus, partition.gpus * resources.nodes)
    return {"cpus": cpus, "gpus": gpus}


def check_cap(facts: Facts, site: Site, resources: JobResources, cap: Cap) -> None:
    """Raise SiteError if a job could not keep a cap of hours, or if one is more than all of it."""
    if not cap:
        return
    time_min = resources.time_min or site.time_min
    if time_min is None:
        raise SiteError(
            "limits.gpu_hours and limits.cpu_hours count a job with its time limit, and nobody "
            "names one: set resources.time in the sweep, or `time` in the site profile"
        )
    allotted = count_allotted(facts, site, resources)
    most = Allotment(allotted["cpus"], allotted["gpus"], time_min)
    if not cap.fits(most.most):
        raise SiteError(
            f"a job may take {cap.describe(most.most)} ({most.cpus} CPUs and {most.gpus} GPUs for "
            f"{time_min} min): not even one fits the cap, so raise it or lower resources.time"
        )


def scale_memory(
    facts: Facts | None, site: Site, resources: JobResources, factor: float
) -> str | None:
    """Return `factor` times the memory of a job, as sbatch takes it; no more than a node has.

    None if the job has all of a node's, or nobody says how much it has.
    """
    given = _given_memory(site, resources)
    if given is None and facts is not None:
        given = facts.default_memory_mb(resources.cpus_per_task * resources.tasks_per_node)
    if not given:
        return None
    wanted = math.ceil(given * factor)
    if facts is not None:
        most = max(partition.memory_mb for partition in find_partitions(facts, site))
        wanted = min(wanted, most) if most else wanted
    return f"{wanted}M"


def choose_excluded(
    facts: Facts | None, site: Site, resources: JobResources, bad_nodes: Sequence[str]
) -> tuple[str, ...]:
    """Return the nodes to leave out: the newest of the bad ones, as long as enough are left."""
    if facts is None:
        return tuple(bad_nodes)
    spare = max(0, min(p.nodes for p in find_partitions(facts, site)) - resources.nodes)
    return tuple(bad_nodes[max(0, len(bad_nodes) - spare) :]) if spare else ()


def check_visible(folder: Path, site: Site) -> None:
    """Raise SiteError for a folder that the nodes cannot see, as far as that can be known.

    And for one in which SLURM could not write what jobs print.
    """
    for name in ("\\", "\n"):
        if name in str(folder):
            raise SiteError(
                f"{str(folder)!r} has {name!r} in its name, and SLURM writes no output of jobs "
                "into such a folder: give --root another one"
            )
    if site.image is not None and any(mark in str(folder) for mark in ",:"):
        raise SiteError(
            f"{str(folder)!r} has a comma or a colon in its name, by which {site.container} parts "
            "the folders that an image sees: give --root another one"
        )
    path = folder.resolve()
    if site.shared:
        if not any(path.is_relative_to(shared.resolve()) for shared in site.shared):
            raise SiteError(
                f"the nodes do not see {path}: give --root a folder below "
                f"{', '.join(map(str, site.shared))} (`shared` of the site profile)"
            )
        return
    if any(path.is_relative_to(local) for local in _LOCAL) and not _nodes_are_here():
        raise SiteError(
            f"the nodes do not see {path}, which this machine has for itself: give --root a "
            "folder that they share (and name such folders under `shared` of the site profile)"
        )


def _nodes_are_here() -> bool:
    """Return True if all nodes of the cluster are this machine."""
    mine = socket.gethostname().partition(".")[0]
    hosts = ask(["sinfo", "--noheader", "--format=%n"]).split()
    return {host.partition(".")[0] for host in hosts} <= {mine, "localhost"}


def find_partition(facts: Facts, site: Site) -> Partition:
    """Return the partition that jobs go to, the first of several; raises as `find_partitions`."""
    return find_partitions(facts, site)[0]


def find_partitions(facts: Facts, site: Site) -> tuple[Partition, ...]:
    """Return the partitions that jobs may go to; raises SiteError if there is none of a name."""
    default = tuple(p for p in facts.partitions.values() if p.is_default)
    if not site.names_partition:  # the site chooses: the default partition, if any, comes first
        others = (p for p in facts.partitions.values() if not p.is_default)
        partitions = (*default, *others)
        if not partitions:
            raise SiteError("the cluster shows no partition: is sinfo that of SLURM?")
        return partitions
    if not site.partitions:
        if not default:
            raise SiteError(
                "the site profile names no partition, and the cluster has no default: choose "
                f"from {', '.join(facts.partitions)}, or write partition = false if the site "
                "chooses by itself"
            )
        return default
    for named in site.partitions:
        if named not in facts.partitions:
            near = difflib.get_close_matches(named, facts.partitions, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise SiteError(
                f"unknown partition {named!r} (site {site.name}): {hint}choose from "
                f"{', '.join(facts.partitions)}"
            )
    return tuple(facts.partitions[named] for named in site.partitions)


def check_account(facts: Facts, site: Site) -> None:
    """Raise SiteError if an account is wanted and none is named, or one that is not ours."""
    if facts.accounts is None:
        return
    named = site.account or facts.default_account
    known = ", ".join(sorted(facts.accounts)) or "none: ask for one"
    if not named:
        raise SiteError(
            f"this site wants an account, and the site profile {site.name} names none; yours: "
            f"{known}"
        )
    if named not in facts.accounts:
        raise SiteError(f"unknown account {named!r} (site {site.name}); yours: {known}")


def _up(facts: Facts) -> str:
    return ", ".join(p.name for p in facts.partitions.values() if p.is_up)
