"""A site profile as people write it, checked at the border and turned into a `slurm.site.Site`."""

import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from orchestrator.sweep.document import Document, Invalid, Location, SweepError, choices
from orchestrator.sweep.messages import Duration, Strict, check
from slurm.site import Site

_DEFAULT = "default"
_SUFFIX = ".toml"
_SET_BY_US = {"array", "dependency", "error", "job-name", "output", "parsable", "wrap"}
_OLD = (".yaml", ".yml")  # what profiles were once; one that is left must not go unheard


def _option(options: dict[str, str]) -> dict[str, str]:
    named = {name.lstrip("-"): value for name, value in options.items()}
    if ours := _SET_BY_US & named.keys():
        raise ValueError(f"{', '.join(sorted(ours))} is ours to set: take it out")
    if "clusters" in named:
        raise ValueError(
            "clusters sends jobs where squeue does not see them: take it out, and send from a "
            "machine of that cluster, or set SLURM_CONF"
        )
    return named


class SiteLimits(Strict):
    """What a site allows: jobs of a user in the queue, size of an array (SLURM says the rest)."""

    submit: Annotated[int, Field(ge=2)] | None = None
    array: Annotated[int, Field(ge=1)] | None = None


class SiteFile(Strict):
    """The keys of a site profile."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpus: Literal["gres", "gpus", "gpus-per-node", "none"] = "gres"
    gpu_type: str | None = None
    cpus_with_gpus: bool = True
    setup: list[str] = Field(default_factory=list)
    options: Annotated[dict[str, str], AfterValidator(_option)] = Field(default_factory=dict)
    python: str | None = None
    cpu_fallback: bool = False
    time: Duration | None = None
    grace: Duration = 120.0
    sbatch_on_nodes: bool = True
    requeue: bool = True
    limits: SiteLimits = SiteLimits()
    status_every: Duration = 40.0
    shared: list[str] = Field(default_factory=list)


def read_site(named: str | None) -> Site:
    """Return the site of a name, or of a path to its profile; raises SweepError.

    Without a name that is THERMOLION_SITE, else the profile `default`, else SLURM as it comes.
    Partition, account and QOS that it does not name are those of SBATCH_PARTITION and so on:
    sbatch is shown none of these variables, which would overrule the profile.
    """
    site = _named(named)
    return replace(
        site,
        partition=site.partition or os.environ.get("SBATCH_PARTITION") or None,
        account=site.account or os.environ.get("SBATCH_ACCOUNT") or None,
        qos=site.qos or os.environ.get("SBATCH_QOS") or None,
    )


def profile_folder() -> Path:
    """Return the folder of the site profiles that are chosen by name."""
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "thermolion" / "sites"


def _named(named: str | None) -> Site:
    named = named or os.environ.get("THERMOLION_SITE")
    folder = profile_folder()
    if named is None:
        path = folder / f"{_DEFAULT}{_SUFFIX}"
        _refuse_old(path)
        return _read(path, _DEFAULT) if path.is_file() else Site()
    if "/" in named or named.endswith((_SUFFIX, *_OLD)):
        path = Path(named).expanduser()
        _refuse_old(path)
        if not path.is_file():
            raise SweepError(f"there is no site profile {path}")
        return _read(path, path.stem)
    path = folder / f"{named}{_SUFFIX}"
    _refuse_old(path)
    if not path.is_file():
        known = sorted(profile.stem for profile in folder.glob(f"*{_SUFFIX}"))
        listed = choices(named, known) if known else "there are none yet"
        raise SweepError(
            f"unknown site {named!r} (profiles lie in {folder}): {listed}; name the path of a "
            "profile, or let `thermolion doctor --write-profile NAME` write one"
        )
    return _read(path, named)


def _refuse_old(path: Path) -> None:
    """Raise SweepError where a profile in the old format is all that there is."""
    old = next((p for p in map(path.with_suffix, _OLD) if p.is_file()), None)
    if old is not None and not path.with_suffix(_SUFFIX).is_file():
        raise SweepError(
            f'{old} is YAML, and site profiles are TOML: write `partition = "gpu"` for '
            f"`partition: gpu` and so on, into {path.with_suffix(_SUFFIX).name} beside it"
        )


def _read(path: Path, name: str) -> Site:
    document = _document(path)
    try:
        file = check(SiteFile, document.data)
    except Invalid as mistake:
        raise document.error(mistake) from mistake
    return Site(
        name=name,
        partition=file.partition,
        account=file.account,
        qos=file.qos,
        constraint=file.constraint,
        gpus=file.gpus,
        gpu_type=file.gpu_type,
        cpus_with_gpus=file.cpus_with_gpus,
        setup=tuple(file.setup),
        options=file.options,
        python=file.python,
        cpu_fallback=file.cpu_fallback,
        time_min=None if file.time is None else max(1, int(file.time // 60)),
        grace_s=int(file.grace),
        sbatch_on_nodes=file.sbatch_on_nodes,
        requeue=file.requeue,
        submit_cap=file.limits.submit,
        max_array_size=file.limits.array,
        status_every_s=file.status_every,
        shared=tuple(Path(folder).expanduser() for folder in file.shared),
    )


def _document(path: Path) -> Document:
    """Parse a profile; raises SweepError for what is no TOML."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SweepError(f"cannot read {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SweepError(
            f'{path}: this is not valid TOML: {error}; text goes in quotes: partition = "gpu"'
        ) from error
    return Document(path, text, data, lines=_lines(text))


def _lines(text: str) -> dict[Location, int]:
    """Return the lines of keys and tables, for messages alone."""
    found: dict[Location, int] = {}
    table: Location = ()
    for number, line in enumerate(text.splitlines(), start=1):
        heading = re.match(r"\s*\[([A-Za-z0-9_.-]+)\]", line)
        key = re.match(r"\s*[\"']?([A-Za-z0-9_-]+)[\"']?(?:\.[^=]*)?\s*=", line)
        if heading is not None:
            table = tuple(heading[1].split("."))
            found.setdefault(table, number)
        elif key is not None:
            found.setdefault((*table, key[1]), number)
    return found
