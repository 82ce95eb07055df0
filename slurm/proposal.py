"""A site profile that the doctor proposes: what it has found out, in the words of a profile."""

import json

from slurm.doctor import Examined
from slurm.quotas import hidden_cap

_USUAL_MIN = 240


def proposal(examined: Examined) -> str:
    """Return the text of a profile; what only the user can know stands there as a comment."""
    site, facts, partition = examined.site, examined.facts, examined.partition
    lines = ["# Proposed by `thermolion doctor`: read it, and add what your site asks for."]
    if partition is not None:
        lines += [_line("partition", partition.name)]
    else:
        lines += [f'# partition = "…"   # one of {", ".join(facts.partitions)}']
    usable = sorted(facts.accounts or ())
    account = site.account or facts.default_account
    if account in usable or (account and facts.accounts is None):
        lines += [_line("account", account)]
    elif usable:
        lines += [f'# account = "{usable[0]}"   # one of {", ".join(usable)}']
    if site.qos:
        lines += [_line("qos", site.qos)]
    if site.constraint:
        lines += [_line("constraint", site.constraint)]
    dialect = examined.dialect
    if dialect is not None:
        lines += [_line("gpus", dialect.gpus)]
        lines += [_line("gpu_type", dialect.gpu_type)] if dialect.gpu_type else []
        lines += [] if dialect.cpus_with_gpus else ["cpus_with_gpus = false"]
    lines += [f'setup = {_text(list(site.setup))}   # "module load …", "source …/activate"']
    if site.python:
        lines += [_line("python", site.python)]
    most = None if partition is None else partition.time_min
    minutes = site.time_min or min(most or _USUAL_MIN, _USUAL_MIN)
    lines += [_line("time", f"{minutes}min")]
    cap = site.submit_cap or facts.submit_cap
    hidden = hidden_cap(facts, examined.record)
    if cap is not None or hidden is not None:
        least = min(c for c in (cap, hidden) if c is not None)
        lines += [f"limits = {{submit = {max(2, least)}}}"]
    if examined.record.get("AllocNodes", "ALL") != "ALL" or not site.sbatch_on_nodes:
        lines += ["sbatch_on_nodes = false"]
    shared = [str(folder) for folder in site.shared]
    lines += [f"shared = {_text(shared)}"] if shared else []
    lines += ["cpu_fallback = true"] if site.cpu_fallback else []
    return "\n".join(lines) + "\n"


def _line(key: str, value: str | None) -> str:
    return f"{key} = {_text(value)}"


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # of text and lists TOML thinks as JSON does
