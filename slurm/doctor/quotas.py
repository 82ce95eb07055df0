"""How much a site gives at a time: arrays, jobs in the queue, questions, time, memory, nodes.

How a site stops jobs before they have ended, and what becomes of them then.
"""

import re
from collections.abc import Iterator, Mapping

from slurm.doctor.diagnostic import Diagnostic, fatal, ok, warning
from slurm.facts import Facts, Partition, parse_count, parse_minutes
from slurm.site import Site

_SHORT_MIN = 60  # a default time below that is one that nobody trains with
_NEEDED_MB = 800  # of a process that has loaded torch and a small data set


def check_quotas(
    site: Site, facts: Facts, partition: Partition, record: Mapping[str, str]
) -> Iterator[Diagnostic]:
    """Judge what limits a sweep in a partition."""
    yield _arrays(site, facts)
    yield _queue(site, facts, record)
    yield _accounting(facts)
    yield from _questions(site, facts)
    yield from _time(site, partition, record)
    yield from _memory(facts, partition, record)
    yield from _whole_nodes(facts, partition, record)
    yield from _sbatch_on_nodes(site, record)
    if facts.config.get("EnforcePartLimits", "NO").upper() == "NO":
        yield ok("too large", "the site takes jobs that can never start; we look beforehand")


def find_qos_cap(facts: Facts, record: Mapping[str, str]) -> int | None:
    """Return the most jobs that the QOS of a partition takes of a user, None if it is open."""
    return facts.qos_caps.get(record.get("QoS", ""))


def _arrays(site: Site, facts: Facts) -> Diagnostic:
    size = facts.max_array_size
    if size < 2:
        return fatal(
            "arrays", f"MaxArraySize is {size}: none are allowed", "ask the site for them"
        )
    if site.max_array_size is not None and site.max_array_size > size:
        said = f"limits.array is {site.max_array_size}, the site's MaxArraySize {size}"
        return fatal("arrays", said, f"limits = {{array = {size}}} in the site profile")
    return ok("arrays", f"of {site.max_array_size or size} jobs at most; more are split")


def _queue(site: Site, facts: Facts, record: Mapping[str, str]) -> Diagnostic:
    caps = [c for c in (facts.submit_cap, find_qos_cap(facts, record)) if c is not None]
    tightest = min(caps, default=None)
    if site.submit_cap is not None and tightest is not None and site.submit_cap > tightest:
        said = f"limits.submit is {site.submit_cap}, the site takes {tightest} jobs of you"
        return warning("queue", said, f"limits = {{submit = {tightest}}} in the site profile")
    if site.submit_cap is not None:
        return ok(
            "queue", f"{site.submit_cap} jobs of yours at a time, the rest follows by itself"
        )
    if tightest is None:
        return ok("queue", "no limit on your jobs is told; one that shows itself is kept to")
    if tightest == 1:
        said = "one job of yours at a time: none can send the next"
        return warning("queue", said, "thermolion run sends on while it watches")
    if facts.submit_cap is None or tightest < facts.submit_cap:
        said = f"QOS {record.get('QoS')!r} of the partition takes {tightest} jobs of a user"
        return warning("queue", said, f"limits = {{submit = {tightest}}} in the site profile")
    return ok("queue", f"{tightest} jobs of yours at a time, the rest follows by itself")


def _accounting(facts: Facts) -> Diagnostic:
    if not facts.has_slurmdbd:
        return ok("accounting", "none (no sacct): not needed, the logs and squeue tell")
    if facts.accounts is None:
        return ok("accounting", "closed, or not enforced: accounts and limits are not told")
    return ok("accounting", "slurmdbd tells accounts and limits")


def _questions(site: Site, facts: Facts) -> Iterator[Diagnostic]:
    words = facts.config.get("SlurmctldParameters", "")
    if "rl_enable" not in words:
        return
    said = {key: int(n) for key, n in re.findall(r"rl_(\w+)=(\d+)", words)}
    # SLURM's own: 30 at once, then two a second.
    bucket, rate = said.get("bucket_size", 30), said.get("refill_rate", 2)
    period = said.get("refill_period", 1)
    every_s = site.status_every_s
    limits = f"{bucket} calls at once, then {rate} in {period} s"
    if every_s * rate < period:
        said_ = f"{limits}, and we would ask every {every_s:.0f} s"
        yield warning(
            "rate limit", said_, f'status_every = "{-(-period // rate)}s" in the profile'
        )
    else:
        yield ok("rate limit", f"{limits}; we ask once in {every_s:.0f} s")


def _time(site: Site, partition: Partition, record: Mapping[str, str]) -> Iterator[Diagnostic]:
    most = partition.time_min
    limit = "no limit" if most is None else f"{most} min at most"
    default = parse_minutes(record.get("DefaultTime", ""))
    if site.time_min and most and site.time_min > most:
        said = f"time is {site.time_min} min, the partition allows {most}"
        yield fatal("time", said, f'time = "{most}min" in the site profile')
    elif site.time_min is None and default is not None and default < _SHORT_MIN:
        said = f"a job that names none gets {default} min ({limit})"
        yield warning("time", said, f'time = "{_usual(most)}" in the site profile')
    else:
        yield ok("time", f"{limit}; longer trials go on from their checkpoints")


def _usual(most_min: int | None) -> str:
    return f"{min(most_min or 240, 240)}min"


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
        said = f"a job gets a whole node, all {partition.cpus} CPUs"
        said += f" and {partition.gpus} GPUs" if partition.gpus else ""
        step = "pack.trials_per_gpu: k runs k trials beside each other in a job"
        yield warning("whole nodes", said, step)


def _sbatch_on_nodes(site: Site, record: Mapping[str, str]) -> Iterator[Diagnostic]:
    hosts = record.get("AllocNodes", "ALL")
    if hosts == "ALL":
        return
    if site.sbatch_on_nodes:
        said = f"jobs may be sent from {hosts} alone, so none can send the rest of a sweep"
        yield warning("sending on", said, "sbatch_on_nodes = false in the site profile")
    else:
        yield ok("sending on", "by thermolion run while it watches, or the next submit")


_TIGHT_S = 10  # less is not enough to save a large model on a shared file system


def check_interruptions(
    site: Site, facts: Facts, record: Mapping[str, str]
) -> Iterator[Diagnostic]:
    """Judge preemption, requeueing and the warning before the time is over."""
    yield _preemption(facts, record)
    yield _requeue(facts)
    time_min = site.time_min or parse_minutes(record.get("DefaultTime", ""))
    if time_min is not None and site.grace_s >= 60 * time_min:
        said = f"grace is {site.grace_s} s, a job has {time_min} min: it is stopped at once"
        yield warning("grace", said, 'a shorter grace = "30s", or a longer time')


def _preemption(facts: Facts, record: Mapping[str, str]) -> Diagnostic:
    config = facts.config
    by_qos = config.get("PreemptType") == "preempt/qos"
    where: Mapping[str, str] = config if by_qos else dict(config) | dict(record)
    mode = where.get("PreemptMode", "OFF").upper()
    if config.get("PreemptType", "preempt/none") == "preempt/none" or mode == "OFF":
        return ok("preemption", "none in this partition")
    grace_s = _seconds(config.get("KillWait", "30 sec"))
    grace_s += 0 if by_qos else _seconds(record.get("GraceTime", "0"))
    if "SUSPEND" in mode or "GANG" in mode:
        said = "a job stands still, with its memory, while another one runs"
        return warning("preemption", said, "compare by steps: seconds count what stood still")
    if "REQUEUE" in mode:
        said = f"a job has {grace_s} s to save, is requeued and goes on with the same bits"
        if grace_s >= _TIGHT_S:
            return ok("preemption", said)
        return warning("preemption", said, "checkpoint: {every: 5min} bounds what is lost")
    said = f"a job has {grace_s} s to save and is ended, not requeued"
    return warning("preemption", said, "thermolion submit sends it again, from its checkpoint")


def _requeue(facts: Facts) -> Diagnostic:
    if facts.config.get("JobRequeue", "1") == "0":
        return ok("requeue", "off unless a job asks for it (JobRequeue=0), which ours do")
    return ok("requeue", "jobs start again by themselves, from their checkpoints")


def _seconds(text: str) -> int:
    return parse_count(text.split()[0]) or 0
