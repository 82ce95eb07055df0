"""The doctor: reads a site and says what will and will not work there, with the next step.

Asks at most a dozen questions and sends nothing (`sbatch --test-only` asks if a job would be
taken); what only a job can tell is in `slurm.doctor.nodes`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slurm.doctor import accounts, quotas
from slurm.doctor.diagnostic import Diagnostic, fatal, ok, warning
from slurm.limits import find_partition
from slurm.site.facts import Ask, Facts, Partition, read_facts
from slurm.site.site import Site
from slurm.slurm_errors import SiteError, SlurmError


@dataclass(frozen=True)
class Examined:
    """A site with the facts that were read of it and the diagnostics.

    `partition` is the one that jobs go to and `record` all that SLURM says of it; None and empty
    if there is none. `dialect` is the site as it has to ask for GPUs, None if it can get none.
    """

    site: Site
    facts: Facts
    partition: Partition | None
    record: Mapping[str, str]
    diagnostics: Sequence[Diagnostic]
    dialect: Site | None = None


def examine(site: Site, user: str, ask: Ask) -> Examined:
    """Read a site and judge it; raises SlurmError if there is no cluster that answers."""
    facts = read_facts(user, ask)
    diagnostics = [_version(facts)]
    try:
        partition = find_partition(facts, site)
    except SiteError as error:
        diagnostics.append(fatal("partition", str(error), 'partition = "…" in the site profile'))
        diagnostics += accounts.check_access(site, facts, None, {}, user)
        return Examined(site, facts, None, {}, diagnostics)
    record = _record(partition.name, ask)
    diagnostics += accounts.check_access(site, facts, partition, record, user)
    dialect = None
    if any(one.level == "will not work" for one in diagnostics):
        step = "mend what will not work, then thermolion doctor again"
        diagnostics.append(warning("job", "not tried: sbatch would refuse it for the above", step))
    else:
        dialect, tried = accounts.try_gpus(site, facts, partition, ask)
        diagnostics += tried
    diagnostics += quotas.check_quotas(site, facts, partition, record)
    diagnostics += quotas.check_interruptions(site, facts, record)
    return Examined(site, facts, partition, record, diagnostics, dialect)


def _version(facts: Facts) -> Diagnostic:
    version = facts.config.get("SLURM_VERSION", "of an unknown version")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if (22, 5) <= numbers < (23, 11):
        version += ", whose srun forgets --cpus-per-task: every srun of ours is told again"
    return ok("SLURM", version)


def _record(name: str, ask: Ask) -> Mapping[str, str]:
    """Return the settings of a partition; empty if the site does not show them."""
    try:
        text = ask("partitions", ["scontrol", "show", "partition", "--oneliner"])
    except SlurmError:
        return {}
    for line in text.splitlines():
        record = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if record.get("PartitionName") == name:
            return record
    return {}
