"""Checks how much a site gives at a time: arrays, jobs in the queue, calls, time, memory, nodes.

Checks as well how it stops jobs before they have ended, and what becomes of them then.
"""

import re
from collections.abc import Iterator, Mapping

from slurm.doctor.diagnostic import Diagnostic, fatal, ok, warning
from slurm.policy import find_policies, foresee_waiting
from slurm.request import JobResources
from slurm.site.facts import Facts, Partition, parse_count, parse_minutes
from slurm.site.site import Site

_SHORT_MIN = 60  # a default time below that is one that nobody trains with
_USUAL_MIN = 240
_TIGHT_S = 10  # less is not enough to save a large model on a shared file system
_NEEDED_MB = 800  # of a process that has loaded torch and a small data set


def check_quotas(
    site: Site, facts: Facts, partition: Partition, record: Mapping[str, str]
) -> Iterator[Diagnostic]:
    """Check what limits a sweep in a partition; yield what was found out."""
    yield _arrays(site, facts)
    yield _queue(site, facts, record)
    yield _accounting(facts)
    yield from _questions(site, facts)
    yield from _time(site, partition, record)
    yield from _memory(facts, partition, record)
    yield from _whole_nodes(facts, partition, record)
    yield from _policy(site, facts, partition)
    yield from _sbatch_on_nodes(site, record)
    if facts.config.get("EnforcePartLimits", "NO").upper() == "NO":
        yield ok("too large", "the site takes jobs that can never start; we look beforehand")


def find_tightest_cap(facts: Facts, record: Mapping[str, str]) -> int | None:
    """Return the most jobs that the site and the QOS of a partition take of a user, None if all.

    `record` has the settings of the partition.
    """
    caps = (facts.submit_cap, facts.qos_caps.get(record.get("QoS", "")))
    return min((cap for cap in caps if cap is not None), default=None)


def _arrays(site: Site, facts: Facts) -> Diagnostic:
    size = facts.max_array_size
    if size < 2:
        return ok("arrays", f"MaxArraySize is {size}: none; every pack is a job of its own")
    if not site.arrays:
        return ok("arrays", "none, as the site profile says: every pack is a job of its own")
    if site.max_array_size is not None and site.max_array_size > size:
        text = f"limits.array is {site.max_array_size}, the site's MaxArraySize {size}"
        return fatal("arrays", text, f"limits = {{array = {size}}} in the site profile")
    return ok("arrays", f"of {site.max_array_size or size} jobs at most; more are split")


def _queue(site: Site, facts: Facts, record: Mapping[str, str]) -> Diagnostic:
    tightest = find_tightest_cap(facts, record)
    step = f"limits = {{submit = {tightest}}} in the site profile"
    if site.submit_cap is not None:
        if tightest is not None and site.submit_cap > tightest:
            text = f"limits.submit is {site.submit_cap}, the site takes {tightest} jobs of you"
            return warning("queue", text, step)
    elif tightest is None:
        return ok("queue", "no limit on your jobs is told; one that shows itself is kept to")
    elif tightest == 1:
        text = "one job of yours at a time: none can send the next"
        return warning("queue", text, "thermolion run sends on while it watches")
    elif facts.submit_cap is None or tightest < facts.submit_cap:
        text = f"QOS {record.get('QoS')!r} of the partition takes {tightest} jobs of a user"
        return warning("queue", text, step)
    cap = site.submit_cap or tightest
    return ok("queue", f"{cap} jobs of yours at a time, the rest follows by itself")


def _accounting(facts: Facts) -> Diagnostic:
    if not facts.has_slurmdbd:
        return ok("accounting", "none (no sacct): not needed, the logs and squeue tell")
    if facts.accounts is None:
        return ok("accounting", "closed, or not enforced: accounts and limits are not told")
    return ok("accounting", "slurmdbd tells accounts and limits")


def _questions(site: Site, facts: Facts) -> Iterator[Diagnostic]:
    parameters = facts.config.get("SlurmctldParameters", "")
    if "rl_enable" not in parameters:
        return
    # SLURM's own: 30 at once, then two a second.
    settings = {"bucket_size": 30, "refill_rate": 2, "refill_period": 1}
    settings |= {key: int(number) for key, number in re.findall(r"rl_(\w+)=(\d+)", parameters)}
    rate, period, every_s = settings["refill_rate"], settings["refill_period"], site.status_every_s
    limits = f"{settings['bucket_size']} calls at once, then {rate} in {period} s"
    if every_s * rate < period:
        text = f"{limits}, and we would ask every {every_s:.0f} s"
        step = f'status_every = "{-(-period // rate)}s" in the profile'
        yield warning("rate limit", text, step)
    else:
        yield ok("rate limit", f"{limits}; we ask once in {every_s:.0f} s")


def _time(site: Site, partition: Partition, record: Mapping[str, str]) -> Iterator[Diagnostic]:
    most = partition.time_min
    limit = "no limit" if most is None else f"{most} min at most"
    default = parse_minutes(record.get("DefaultTime", ""))
    if site.time_min and most and site.time_min > most:
        text = f"time is {site.time_min} min, the partition allows {most}"
        yield fatal("time", text, f'time = "{most}min" in the site profile')
    elif site.time_min is None and default is not None and default < _SHORT_MIN:
        text = f"a job that names none gets {default} min ({limit})"
        yield warning("time", text, f'time = "{usual_minutes(partition)}min" in the site profile')
    else:
        yield ok("time", f"{limit}; longer trials go on from their checkpoints")


def usual_minutes(partition: Partition | None) -> int:
    """Return the time limit to propose for jobs: four hours, or what a partition allows."""
    return min((partition and partition.time_min) or _USUAL_MIN, _USUAL_MIN)


def _memory(facts: Facts, partition: Partition, record: Mapping[str, str]) -> Iterator[Diagnostic]:
    # A setting that the partition leaves open is the cluster's.
    per_cpu = parse_count(record.get("DefMemPerCPU", "")) or facts.memory_of_cpu_mb
    per_node = parse_count(record.get("DefMemPerNode", "")) or facts.memory_of_node_mb
    given_mb, unit = (per_cpu, "CPU") if per_cpu else (per_node, "node")
    if not given_mb:
        if "MEMORY" in facts.config.get("SelectTypeParameters", "").upper():
            takes = f"a job that names none takes all {partition.memory_mb} MB of its node"
            yield warning("memory", takes, "resources: {mem: 8G} in the sweep, or what it needs")
    elif given_mb < _NEEDED_MB:
        gets = f"a job that names none gets {given_mb} MB a {unit}, torch alone takes about 500"
        yield warning("memory", gets, "resources: {mem: 4G} in the sweep, or more CPUs")
    else:
        yield ok("memory", f"{given_mb} MB a {unit} unless resources.mem says otherwise")


def _whole_nodes(
    facts: Facts, partition: Partition, record: Mapping[str, str]
) -> Iterator[Diagnostic]:
    linear = "linear" in facts.config.get("SelectType", "")
    if linear or record.get("OverSubscribe", "") == "EXCLUSIVE":
        text = f"a job gets a whole node, all {partition.cpus} CPUs"
        text += f" and {partition.gpus} GPUs" if partition.gpus else ""
        step = "pack.trials_per_gpu: k runs k trials beside each other in a job"
        yield warning("whole nodes", text, step)


def _policy(site: Site, facts: Facts, partition: Partition) -> Iterator[Diagnostic]:
    for policy in find_policies(facts, site):
        if policy.time_min is None:
            continue
        if site.time_min is not None and site.time_min > policy.time_min:
            text = f"time is {site.time_min} min, {policy.name} allows {policy.time_min}"
            yield fatal("policy", text, f'time = "{policy.time_min}min" in the site profile')
        else:
            yield ok("policy", f"{policy.name} allows {policy.time_min} min")
    for text in foresee_waiting(facts, site, partition, JobResources()):
        yield warning("policy", text, "jobs wait, and start by themselves as others end")


def _sbatch_on_nodes(site: Site, record: Mapping[str, str]) -> Iterator[Diagnostic]:
    hosts = record.get("AllocNodes", "ALL")
    if hosts == "ALL":
        return
    if site.sbatch_on_nodes:
        text = f"jobs may be sent from {hosts} alone, so none can send the rest of a sweep"
        yield warning("sending on", text, "sbatch_on_nodes = false in the site profile")
    else:
        yield ok("sending on", "by thermolion run while it watches, or the next submit")


def check_interruptions(
    site: Site, facts: Facts, record: Mapping[str, str]
) -> Iterator[Diagnostic]:
    """Check preemption, requeueing and the warning before the time is over; yield diagnostics."""
    yield _preemption(facts, record)
    requeue = "jobs start again by themselves, from their checkpoints"
    if facts.config.get("JobRequeue", "1") == "0":
        requeue = "off unless a job asks for it (JobRequeue=0), which ours do"
    yield ok("requeue", requeue)
    time_min = site.time_min or parse_minutes(record.get("DefaultTime", ""))
    if time_min is not None and site.grace_s >= 60 * time_min:
        text = f"grace is {site.grace_s} s, a job has {time_min} min: it is stopped at once"
        yield warning("grace", text, 'a shorter grace = "30s", or a longer time')


def _preemption(facts: Facts, record: Mapping[str, str]) -> Diagnostic:
    config = facts.config
    by_qos = config.get("PreemptType") == "preempt/qos"
    settings: Mapping[str, str] = config if by_qos else dict(config) | dict(record)
    mode = settings.get("PreemptMode", "OFF").upper()
    if config.get("PreemptType", "preempt/none") == "preempt/none" or mode == "OFF":
        return ok("preemption", "none in this partition")
    grace_s = _seconds(config.get("KillWait", "30 sec"))
    grace_s += 0 if by_qos else _seconds(record.get("GraceTime", "0"))
    if "SUSPEND" in mode or "GANG" in mode:
        text = "a job stands still, with its memory, while another one runs"
        return warning("preemption", text, "compare by steps: seconds count what stood still")
    if "REQUEUE" in mode:
        text = f"a job has {grace_s} s to save, is requeued and goes on with the same bits"
        if grace_s >= _TIGHT_S:
            return ok("preemption", text)
        return warning("preemption", text, "checkpoint: {every: 5min} bounds what is lost")
    text = f"a job has {grace_s} s to save and is ended, not requeued"
    return warning("preemption", text, "thermolion submit sends it again, from its checkpoint")


def _seconds(text: str) -> int:
    return parse_count(text.split()[0]) or 0
