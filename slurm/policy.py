"""What the policy of a site makes jobs wait for, as far as it tells: QOS, accounts, nodes.

A request that could never start is refused; what only makes it wait is said. Asks SLURM nothing.
"""

from collections.abc import Iterator

from jobs.contract.quantities import quantity
from slurm.request import JobResources
from slurm.site.facts import Facts, JobPolicy, Partition
from slurm.site.site import Site
from slurm.slurm_errors import SiteError

_UNITS = {"cpu": "CPUs", "node": "nodes", "gres/gpu": "GPUs"}


def find_policies(facts: Facts, site: Site) -> list[JobPolicy]:
    """Return the policies that hold for jobs of a site profile, as far as they are known."""
    qos = site.qos or facts.default_qos or ""
    account = site.account or facts.default_account or ""
    found = (facts.qos_policies.get(qos), facts.account_policies.get(account))
    return [policy for policy in found if policy is not None]


def check_policy(facts: Facts, site: Site, resources: JobResources) -> None:
    """Raise SiteError for a request that a policy lets wait for ever."""
    time_min = resources.time_min or site.time_min
    for policy in find_policies(facts, site):
        if time_min and policy.time_min is not None and time_min > policy.time_min:
            raise SiteError(
                f"resources.time is {time_min} min, {policy.name} allows {policy.time_min} min: "
                "lower it (trials go on from their checkpoints), or choose another one in the "
                f"site profile {site.name}"
            )
        for unit, needed in count_units(resources).items():
            most = min(
                (limits[unit] for limits in (policy.job, policy.group) if unit in limits),
                default=needed,
            )
            if needed > most:
                raise SiteError(
                    f"a job needs {needed} {_UNITS[unit]}, {policy.name} allows {most}: lower "
                    f"`resources`, or choose another one in the site profile {site.name}"
                )


def count_units(resources: JobResources) -> dict[str, int]:
    """Return what a job asks for, by SLURM's names of it."""
    return {
        "cpu": resources.tasks * resources.cpus_per_task,
        "node": resources.nodes,
        "gres/gpu": resources.gpus_per_node * resources.nodes,
    }


def foresee_waiting(
    facts: Facts, site: Site, partition: Partition, resources: JobResources
) -> Iterator[str]:
    """Yield what jobs will wait for, a sentence each, with what can be done about it."""
    usable = partition.nodes - partition.unavailable
    if partition.unavailable:
        all_ = (
            f"{partition.unavailable} of {partition.nodes} nodes of partition {partition.name!r}"
        )
        then = "fewer jobs run at a time" if usable >= resources.nodes else "jobs wait for them"
        yield f"{all_} are down or drained: {then}; `sinfo -R` has the reason"
    for policy in find_policies(facts, site):
        if policy.max_jobs is not None:
            jobs = quantity(policy.max_jobs, "job")
            yield f"{policy.name} lets {jobs} of yours run at a time; others wait"
        needs = {unit: needed for unit, needed in count_units(resources).items() if needed}
        for unit, most in policy.group.items():
            if unit in needs:
                count = most // needs[unit]
                yield (
                    f"{policy.name} has {most} {_UNITS[unit]} for all of its jobs together: at "
                    f"most {count} of these at a time"
                )
