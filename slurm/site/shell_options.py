"""What a user's shell says to sbatch by SBATCH_* variables, and who heeds it.

sbatch itself does not see them: they would overrule the profile, and a job's own variables would
reach every job that it sends.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from slurm.site.site import Site
from slurm.slurm_errors import SiteError

# By variable: the option of sbatch that it stands for, among `options` of the profile.
_OPTIONS = {
    "SBATCH_RESERVATION": "reservation",
    "SBATCH_EXPORT": "export",
    "SBATCH_WCKEY": "wckey",
}
_FIELDS = ("SBATCH_PARTITION", "SBATCH_ACCOUNT", "SBATCH_QOS", "SBATCH_CONSTRAINT")
_TIME = "SBATCH_TIMELIMIT"
_CLUSTERS = ("SBATCH_CLUSTERS", "SLURM_CLUSTERS")
# Of no interest to a job: how sbatch itself behaves.
_HARMLESS = {"SBATCH_DEBUG", "SBATCH_WAIT", "SBATCH_IGNORE_PBS"}


def fill_in(site: Site, variables: Mapping[str, str]) -> Site:
    """Return a site with what its profile leaves open as the shell says it.

    Raises SiteError for a time limit that cannot be read.
    """
    said = {name: value for name, value in variables.items() if value}
    options = {option: said[name] for name, option in _OPTIONS.items() if name in said}
    time_min = site.time_min
    if time_min is None and _TIME in said:
        time_min = parse_time_limit(said[_TIME])
    heeded = {*_FIELDS, *_OPTIONS, _TIME}
    partition = site.partition or said.get("SBATCH_PARTITION")
    return replace(
        site,
        partition=partition if site.names_partition else None,
        account=site.account or said.get("SBATCH_ACCOUNT"),
        qos=site.qos or said.get("SBATCH_QOS"),
        constraint=site.constraint or said.get("SBATCH_CONSTRAINT"),
        options=options | dict(site.options),
        time_min=time_min,
        shell={name: value for name, value in said.items() if name in heeded},
    )


def describe_unheeded(variables: Mapping[str, str]) -> list[str]:
    """Say which SBATCH_* variables are set that nobody heeds; empty if there are none."""
    known = {*_OPTIONS, *_FIELDS, _TIME, *_CLUSTERS, *_HARMLESS}
    said = (name for name, value in variables.items() if name.startswith("SBATCH_") and value)
    unheeded = sorted(name for name in said if name not in known)
    why = "a job asks for what the sweep says (`resources`) and the site profile (`options`)"
    names = ", ".join(unheeded)
    return [f"{names}: set in this shell, and not heeded; {why}"] if unheeded else []


def check_clusters(variables: Mapping[str, str], cluster: str | None) -> None:
    """Raise SiteError if the shell sends jobs to another cluster than the one that is asked."""
    for name in _CLUSTERS:
        named = variables.get(name)
        if named and named != cluster:
            raise SiteError(
                f"{name} is {named!r}, and this machine sends to the cluster {cluster!r} and sees "
                f"the queue of that one alone: unset {name}, and send from a login node of "
                f"{named}, or set SLURM_CONF to its configuration"
            )


def parse_time_limit(text: str) -> int | None:
    """Return the minutes of a time limit as sbatch takes it, rounded up; None if unlimited.

    Raises SiteError for anything else.
    """
    if text.upper() in ("UNLIMITED", "INFINITE"):
        return None
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if match is None:
        raise SiteError(
            f"{_TIME} is {text!r}, which is no time: write minutes, H:MM:SS or D-HH:MM:SS"
        )
    days = match[1]
    parts = [int(part) for part in match.groups()[1:] if part is not None]
    if days is not None:  # days-hours[:minutes[:seconds]]
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:  # minutes[:seconds]
        hours, minutes, seconds = 0, parts[0], parts[1] if len(parts) > 1 else 0
    return (int(days or 0) * 24 + hours) * 60 + minutes + (seconds > 0)
