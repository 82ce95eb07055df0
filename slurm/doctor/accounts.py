"""Checks who may send jobs to a site, and how GPUs are asked for: account, QOS, root, dialect.

No setting tells what a site's own rules (job_submit plugins) refuse, so sbatch is asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from slurm.doctor.diagnostic import Diagnostic, fatal, ok, warning
from slurm.limits import check_account, check_federation
from slurm.request import JobResources, gpu_options
from slurm.site.facts import Ask, Facts, Partition
from slurm.site.own_options import MEMORY, ask_memory, join_options
from slurm.site.site import GpuDialect, OptionValue, Site
from slurm.slurm_errors import SiteError, SlurmError

_DIALECTS: tuple[GpuDialect, ...] = ("gres", "gpus-per-node", "gpus")
_TIME_MIN = 10
_TRIES = 8  # a call of sbatch each, which some sites count


def check_access(
    site: Site, facts: Facts, partition: Partition | None, record: Mapping[str, str], user: str
) -> Iterator[Diagnostic]:
    """Check user, account, QOS and partition; yield what was found out."""
    barred = (facts.config.get("DisableRootJobs"), record.get("DisableRootJobs"))
    if user == "root" and "YES" in [(word or "").upper() for word in barred]:
        yield fatal("user", "root may not run jobs here", "log in as yourself")
    try:
        check_federation(facts, site)
    except SiteError as error:
        yield fatal("federation", str(error), "sbatch_on_nodes = false in the site profile")
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
        yield ok("account", "not told by the site" if facts.has_slurmdbd else "none is asked for")
    else:
        yield ok("account", named or "none is asked for")


def _qos(site: Site, facts: Facts, record: Mapping[str, str]) -> Iterator[Diagnostic]:
    allowed = _names(record, "AllowQos")
    usable = facts.qos if allowed is None else allowed & (facts.qos or allowed)
    if site.qos is not None and usable is not None and site.qos not in usable:
        known = ", ".join(sorted(usable)) or "none"
        text = f"{site.qos!r} is not open to you in this partition; open are: {known}"
        yield fatal("QOS", text, f'qos = "{min(usable, default="…")}" in the site profile')
    elif site.qos is None and allowed is not None and "normal" not in allowed:
        text = f"the partition takes {', '.join(sorted(allowed))} alone"
        step = f'qos = "{min(usable or allowed)}" in the site profile'
        yield warning("QOS", f"{text}, and the profile names none", step)
    elif site.qos is not None:
        yield ok("QOS", site.qos)


def try_gpus(
    site: Site, facts: Facts, partition: Partition, ask: Ask
) -> tuple[Site | None, Sequence[Diagnostic]]:
    """Ask sbatch if it would take a job, with a GPU if there are any; sends nothing.

    Return the site as it has to ask for a GPU, None if there are none or all ways are refused.
    """
    others = ", ".join(p.name for p in facts.partitions.values() if p.gpus)
    if not partition.gpus and site.gpus != "none":
        gpus = ok("GPUs", "none in this partition" + (f"; they are in {others}" if others else ""))
        refusal = _refusal("test-cpu", site, 0, ask)
        if refusal is None:
            return None, [gpus, ok("job", "sbatch would take one")]
        for suffix, variant in _other_places(site).items():
            if _refusal(f"test-cpu{suffix}", variant, 0, ask) is None:
                return None, [gpus, _explain_place(site, variant, refusal)]
        return None, [gpus, _refused(refusal, facts)]
    first_refusal = ""
    for variant in _variants(site, partition):
        keys = _gpu_keys(variant)
        typed = f"-{variant.gpu_type}" if variant.gpu_type else ""
        name = f"test-{variant.gpus}{typed}{'' if variant.cpus_with_gpus else '-no-cpus'}"
        name += next((s for s, other in _other_places(site).items() if other == variant), "")
        refusal = _refusal(name, variant, 1, ask)
        if refusal is None and variant in _other_places(site).values():
            return variant, [_explain_place(site, variant, first_refusal)]
        if refusal is None and variant == site:
            return variant, [ok("GPUs", f"sbatch would take a job with one ({keys})")]
        if refusal is None:
            text = f"{_gpu_keys(site)} is refused: {first_refusal}"
            return variant, [fatal("GPUs", text, f"{keys} in the site profile")]
        first_refusal = first_refusal or refusal
    return None, [_refused(first_refusal, facts)]


def _gpu_keys(site: Site) -> str:
    """Return the keys of a site profile that say how GPUs are asked for."""
    typed = f', gpu_type = "{site.gpu_type}"' if site.gpu_type else ""
    cpus = "" if site.cpus_with_gpus else ", cpus_with_gpus = false"
    return f'gpus = "{site.gpus}"{typed}{cpus}'


def _variants(site: Site, partition: Partition) -> Sequence[Site]:
    """Return the site as it is, then with other ways to ask for GPUs, the nearest ones first."""
    variants = [site, *(replace(site, gpus=gpus) for gpus in _DIALECTS if gpus != site.gpus)]
    variants += _other_places(site).values()
    if not site.gpu_type and partition.gpu_types:
        variants.append(replace(site, gpu_type=partition.gpu_types[0]))
    if site.cpus_with_gpus:
        variants += [replace(site, gpus=gpus, cpus_with_gpus=False) for gpus in _DIALECTS]
    return variants[:_TRIES]


def _other_places(site: Site) -> Mapping[str, Site]:
    """Return what a site's own rules may want instead, whatever the job: by a suffix of names."""
    others = {}
    if site.partitions:
        others["-any"] = replace(site, partition=None, names_partition=False)
    if site.arrays:
        others["-single"] = replace(site, arrays=False)
    return others


def _explain_place(site: Site, variant: Site, refusal: str) -> Diagnostic:
    if variant.names_partition != site.names_partition:
        text = f"the site chooses it by itself, and refuses a job that names one: {refusal}"
        return fatal("partition", text, "partition = false in the site profile")
    text = f"the site refuses job arrays: {refusal}"
    return fatal("arrays", text, "arrays = false in the site profile")


def _refusal(name: str, site: Site, gpus: int, ask: Ask) -> str | None:
    """Return why sbatch would not take the smallest job, None if it would."""
    try:
        ask(name, ["sbatch", "--test-only", *smallest_job_options(site, gpus), "--wrap=true"])
    except SlurmError as error:
        # Without what stands before and after every refusal.
        text = str(error).removeprefix("sbatch: ").removeprefix("sbatch: error: ")
        parts = [part.strip() for part in text.split("sbatch: error: ")]
        causes = [part for part in parts if not part.endswith("Unspecified error")]
        return "; ".join(causes or parts)
    return None


def smallest_job_options(site: Site, gpus: int) -> Sequence[str]:
    """Return the options of sbatch for the smallest job that has `gpus` GPUs."""
    options: dict[str, OptionValue] = {"array": "0-1"} if site.arrays else {}
    options |= {"nodes": "1", "ntasks-per-node": "1"}
    options |= site.destination
    options["time"] = str(min(site.time_min or _TIME_MIN, _TIME_MIN))
    if not gpus or site.cpus_with_gpus:
        options["cpus-per-task"] = "1"
    if gpus:
        options |= gpu_options(JobResources(gpus_per_node=gpus), site)
    theirs = {name: value for name, value in site.options.items() if name not in MEMORY}
    options |= join_options(options, theirs) | ask_memory(site.options, None, 1, gpus)
    words = (f"--{name}" + ("" if v is True else f"={v}") for name, v in options.items())
    return ["--requeue", *words]


def _refused(refusal: str, facts: Facts) -> Diagnostic:
    rules = facts.config.get("JobSubmitPlugins", "(null)")
    own = "" if rules in ("(null)", "") else f" (the site has rules of its own: {rules})"
    step = "give the site what it asks for: partition, account, qos, constraint or `options`"
    return fatal("job", f"sbatch refuses one{own}: {refusal}", f"{step} in the site profile")


def _names(record: Mapping[str, str], key: str) -> frozenset[str] | None:
    """Return the names that a partition lists under a key, None if it lists none."""
    names = record.get(key, "ALL")
    return None if names in ("ALL", "N/A", "(null)") else frozenset(names.split(","))
