"""Who may send jobs to a site, and in which words: account, QOS, root, the dialect of GPUs.

What a site's own rules (job_submit plugins) refuse, no setting tells: sbatch is asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from slurm.doctor.diagnostic import Diagnostic, fatal, ok, warning
from slurm.facts import Ask, Facts, Partition
from slurm.limits import check_account
from slurm.request import JobResources, gpu_options
from slurm.site import GpuDialect, Site
from slurm.slurm_errors import SiteError, SlurmError

_DIALECTS: tuple[GpuDialect, ...] = ("gres", "gpus-per-node", "gpus")
_TIME_MIN = 10
_TRIES = 6  # a call of sbatch each, which some sites count


@dataclass(frozen=True)
class Dialect:
    """How a site takes a request for a GPU."""

    gpus: GpuDialect
    gpu_type: str | None
    cpus_with_gpus: bool

    @staticmethod
    def of(site: Site) -> "Dialect":
        return Dialect(site.gpus, site.gpu_type, site.cpus_with_gpus)

    @property
    def told(self) -> str:
        """The keys of a site profile that say so."""
        typed = f', gpu_type = "{self.gpu_type}"' if self.gpu_type else ""
        cpus = "" if self.cpus_with_gpus else ", cpus_with_gpus = false"
        return f'gpus = "{self.gpus}"{typed}{cpus}'


def check_access(
    site: Site, facts: Facts, partition: Partition | None, record: Mapping[str, str], user: str
) -> Iterator[Diagnostic]:
    """Judge user, account, QOS and partition."""
    barred = (facts.config.get("DisableRootJobs"), record.get("DisableRootJobs"))
    if user == "root" and "YES" in [(word or "").upper() for word in barred]:
        yield fatal("user", "root may not run jobs here", "log in as yourself")
    if partition is not None:
        yield _partition(facts, partition, record)
    yield from _account(site, facts, record)
    yield from _qos(site, facts, record)


def _partition(facts: Facts, partition: Partition, record: Mapping[str, str]) -> Diagnostic:
    named = f"{partition.name}: {partition.nodes} nodes of {partition.cpus} CPUs"
    named += f", {partition.memory_mb} MB" + f", {partition.gpus} GPUs" * bool(partition.gpus)
    others = ", ".join(p.name for p in facts.partitions.values() if p.is_up) or "none is up"
    choose = f'partition = "…" in the site profile; up are {others}'
    if not partition.is_up:
        return fatal("partition", f"{partition.name} is down", choose)
    if record.get("RootOnly") == "YES" or record.get("ReqResv") == "YES":
        return fatal("partition", f"{partition.name} takes no jobs of users", choose)
    return ok("partition", named)


def _account(site: Site, facts: Facts, record: Mapping[str, str]) -> Iterator[Diagnostic]:
    try:
        check_account(facts, site)
    except SiteError as error:
        first = min(facts.accounts or (), default="…")
        yield fatal("account", str(error), f'account = "{first}" in the site profile')
        return
    named = site.account or facts.default_account
    allowed, denied = _names(record, "AllowAccounts"), _names(record, "DenyAccounts")
    if facts.accounts is not None and allowed is not None and named not in allowed:
        mine = sorted(facts.accounts & allowed)
        step = f'account = "{mine[0]}" in the site profile' if mine else "choose another partition"
        yield fatal("account", f"the partition takes {', '.join(sorted(allowed))} alone", step)
    elif denied is not None and named in denied:
        yield fatal("account", f"the partition refuses {named}", "choose another partition")
    elif facts.accounts is None:
        yield ok("account", "none is asked for" if _no_accounts(facts) else "not told by the site")
    else:
        yield ok("account", named or "none is asked for")


def _qos(site: Site, facts: Facts, record: Mapping[str, str]) -> Iterator[Diagnostic]:
    allowed = _names(record, "AllowQos")
    usable = facts.qos if allowed is None else allowed & (facts.qos or allowed)
    if site.qos is not None and usable is not None and site.qos not in usable:
        known = ", ".join(sorted(usable)) or "none"
        said = f"{site.qos!r} is not open to you in this partition; open are: {known}"
        yield fatal("QOS", said, f'qos = "{min(usable, default="…")}" in the site profile')
    elif site.qos is None and allowed is not None and "normal" not in allowed:
        said = (
            f"the partition takes {', '.join(sorted(allowed))} alone, and the profile names none"
        )
        step = f'qos = "{min(usable or allowed)}" in the site profile'
        yield warning("QOS", said, step)
    elif site.qos is not None:
        yield ok("QOS", site.qos)


def try_gpus(
    site: Site, facts: Facts, partition: Partition, ask: Ask
) -> tuple[Dialect | None, Sequence[Diagnostic]]:
    """Ask sbatch whether it would take a job, with a GPU if there are any; sends nothing.

    Returns the words that it takes, None if it takes none.
    """
    where = ", ".join(p.name for p in facts.partitions.values() if p.gpus)
    if not partition.gpus and site.gpus != "none":
        gpus = ok("GPUs", "none in this partition" + (f"; they are in {where}" if where else ""))
        refusal = _refusal("test-cpu", site, None, ask)
        if refusal is None:
            return None, [gpus, ok("job", "sbatch would take one")]
        return None, [gpus, _refused(refusal, facts)]
    present = Dialect.of(site)
    refusals: dict[Dialect, str] = {}
    for dialect in _candidates(present, partition):
        typed = f"-{dialect.gpu_type}" if dialect.gpu_type else ""
        name = f"test-{dialect.gpus}{typed}{'' if dialect.cpus_with_gpus else '-no-cpus'}"
        refusal = _refusal(name, site, dialect, ask)
        if refusal is None and dialect == present:
            return dialect, [ok("GPUs", f"sbatch would take a job with one ({dialect.told})")]
        if refusal is None:
            said = f"{present.told} is refused: {refusals[present]}"
            return dialect, [fatal("GPUs", said, f"{dialect.told} in the site profile")]
        refusals[dialect] = refusal
    return None, [_refused(refusals[present], facts)]


def _candidates(present: Dialect, partition: Partition) -> Sequence[Dialect]:
    """Return the words to try: the present ones, then what differs from them ever more."""
    first = partition.gpu_types[0] if partition.gpu_types else None
    words = [present, *(replace(present, gpus=gpus) for gpus in _DIALECTS)]
    if not present.gpu_type and first is not None:
        words.append(replace(present, gpu_type=first))
    words += [replace(present, gpus=gpus, cpus_with_gpus=False) for gpus in _DIALECTS]
    return list(dict.fromkeys(words))[:_TRIES]


def _refusal(name: str, site: Site, dialect: Dialect | None, ask: Ask) -> str | None:
    """Return why sbatch would not take the smallest job, None if it would."""
    try:
        ask(name, ["sbatch", "--test-only", *smallest_job_options(site, dialect), "--wrap=true"])
    except SlurmError as error:
        return _in_words(str(error))
    return None


def _in_words(refusal: str) -> str:
    """Return what sbatch has said without what stands before and after every refusal."""
    said = refusal.removeprefix("sbatch: ").removeprefix("sbatch: error: ")
    parts = [part.strip() for part in said.split("sbatch: error: ")]
    telling = [part for part in parts if not part.endswith("Unspecified error")]
    return "; ".join(telling or parts)


def smallest_job_options(site: Site, dialect: Dialect | None) -> Sequence[str]:
    """Return the options of sbatch for the smallest job, with a GPU if a dialect is given."""
    words = ["--array=0-1", "--nodes=1", "--ntasks-per-node=1", "--requeue"]
    words += [f"--{option}={value}" for option, value in site.destination.items()]
    words.append(f"--time={min(site.time_min or _TIME_MIN, _TIME_MIN)}")
    if dialect is None or dialect.cpus_with_gpus:
        words.append("--cpus-per-task=1")
    if dialect is not None:
        spoken = replace(site, gpus=dialect.gpus, gpu_type=dialect.gpu_type)
        options = gpu_options(JobResources(gpus_per_node=1), spoken)
        words += [f"--{option}={value}" for option, value in options.items()]
    return [*words, *(f"--{option}={value}" for option, value in site.options.items())]


def _refused(said: str, facts: Facts) -> Diagnostic:
    rules = facts.config.get("JobSubmitPlugins", "(null)")
    own = "" if rules in ("(null)", "") else f" (the site has rules of its own: {rules})"
    step = "give the site what it asks for: partition, account, qos, constraint or `options`"
    return fatal("job", f"sbatch refuses one{own}: {said}", f"{step} in the site profile")


def _names(record: Mapping[str, str], key: str) -> frozenset[str] | None:
    """Return the names that a partition lists under a key, None if it lists none."""
    said = record.get(key, "ALL")
    return None if said in ("ALL", "N/A", "(null)") else frozenset(said.split(","))


def _no_accounts(facts: Facts) -> bool:
    return "slurmdbd" not in facts.config.get("AccountingStorageType", "")
