"""How a site stops jobs before they have ended, and what becomes of them then."""

from collections.abc import Iterator, Mapping

from slurm.facts import Facts, parse_minutes
from slurm.finding import Finding, ok, warning
from slurm.site import Site

_TIGHT_S = 10  # less is not enough to save a large model on a shared file system


def interruptions(site: Site, facts: Facts, record: Mapping[str, str]) -> Iterator[Finding]:
    """Judge preemption, requeueing and the warning before the time is over."""
    yield _preemption(facts, record)
    yield _requeue(facts)
    time_min = site.time_min or parse_minutes(record.get("DefaultTime", ""))
    if time_min is not None and site.grace_s >= 60 * time_min:
        said = f"grace is {site.grace_s} s, a job has {time_min} min: it is stopped at once"
        yield warning("grace", said, 'a shorter grace = "30s", or a longer time')


def _preemption(facts: Facts, record: Mapping[str, str]) -> Finding:
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


def _requeue(facts: Facts) -> Finding:
    if facts.config.get("JobRequeue", "1") == "0":
        return ok("requeue", "off unless a job asks for it (JobRequeue=0), which ours do")
    return ok("requeue", "jobs start again by themselves, from their checkpoints")


def _seconds(text: str) -> int:
    number = text.split()[0]
    return int(number) if number.isdecimal() else 0
