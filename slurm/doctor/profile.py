"""The site profile that the doctor proposes: what it has found out, in the keys of a profile."""

import json

from slurm.doctor.examine import Examined
from slurm.doctor.quotas import find_tightest_cap, usual_minutes
from slurm.site.facts import Facts
from slurm.site.site import Site


def propose_profile(examined: Examined) -> str:
    """Return the text of a profile; what only the user can know stands there as a comment."""
    site = examined.site
    lines = [
        "# Proposed by `thermolion doctor`: read it, and add what your site asks for.",
        *_where(examined),
        *_gpus(examined),
        f'setup = {_text(list(site.setup))}   # "module load …", "source …/activate"',
        *_line("python", site.python),
        *_kept(site),
        *_limits(examined),
        *_arrays(examined),
        *([f"shared = {_text(list(map(str, site.shared)))}"] if site.shared else []),
        *(["cpu_fallback = true"] if site.cpu_fallback else []),
    ]
    return "\n".join(lines) + "\n"


def _where(examined: Examined) -> list[str]:
    """Return the lines that say where jobs go: partition, account, QOS, constraint."""
    site, partition = examined.site, examined.partition
    names = ", ".join(examined.facts.partitions)
    place = _line("partition", site.partition or (partition.name if partition else None))
    refused = any((one.step or "").startswith("partition = false") for one in examined.diagnostics)
    if refused or not site.names_partition:
        place = ["partition = false   # the site chooses it"]
    return [
        *(place or [_open("partition", "…", names)]),
        *_account(site, examined.facts),
        *_line("qos", site.qos),
        *_line("constraint", site.constraint),
    ]


def _account(site: Site, facts: Facts) -> list[str]:
    usable = sorted(facts.accounts or ())
    account = site.account or facts.default_account
    if account in usable or facts.accounts is None:
        return _line("account", account)
    return [_open("account", usable[0], ", ".join(usable))] if usable else []


def _gpus(examined: Examined) -> list[str]:
    dialect = examined.dialect
    if dialect is None:
        return []
    cpus = [] if dialect.cpus_with_gpus else ["cpus_with_gpus = false"]
    return [*_line("gpus", dialect.gpus), *_line("gpu_type", dialect.gpu_type), *cpus]


def _arrays(examined: Examined) -> list[str]:
    steps = [one.step or "" for one in examined.diagnostics]
    refused = any(step.startswith("arrays = false") for step in steps)
    return ["arrays = false"] if refused or not examined.site.arrays else []


def _limits(examined: Examined) -> list[str]:
    """Return the lines of the limits: time of a job, number of jobs, sbatch on nodes."""
    site = examined.site
    lines = _line("time", f"{site.time_min or usual_minutes(examined.partition)}min")
    caps = (site.submit_cap, find_tightest_cap(examined.facts, examined.record))
    known = [cap for cap in caps if cap is not None]
    if known:
        lines += [f"limits = {{submit = {max(2, min(known))}}}"]
    if examined.record.get("AllocNodes", "ALL") != "ALL" or not site.sbatch_on_nodes:
        lines += ["sbatch_on_nodes = false"]
    return lines


def _kept(site: Site) -> list[str]:
    """Return the lines of what the present profile says and nobody can find out."""
    pairs = (f"{json.dumps(name)} = {_text(value)}" for name, value in site.options.items())
    options = ", ".join(pairs)
    lines = [f"options = {{{options}}}"] if options else []
    if site.directives:
        lines.append(f"directives = {_text(list(site.directives))}")
    if site.image is None:
        return lines
    lines += [*_line("image", site.image), *_line("container", site.container)]
    return lines + ([f"mounts = {_text(list(site.mounts))}"] if site.mounts else [])


def _line(key: str, value: str | None) -> list[str]:
    """Return the line of a key, none if it has no value."""
    return [f"{key} = {_text(value)}"] if value else []


def _open(key: str, example: str, choices: str) -> str:
    return f'# {key} = "{example}"   # one of {choices}'


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # of text and lists TOML thinks as JSON does
