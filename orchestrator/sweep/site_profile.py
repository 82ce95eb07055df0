"""A site profile as people write it, checked at the border and made into a `Site`."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from orchestrator.sweep.document import Document, Invalid, Location, SweepError, choices
from orchestrator.sweep.messages import Duration, Strict, check
from slurm.site.own_options import check_directive, check_option
from slurm.site.shell_options import fill_in
from slurm.site.site import Container, OptionValue, Site
from slurm.slurm_errors import SiteError

SITE_VARIABLE = "THERMOLION_SITE"
_DEFAULT = "default"
_SUFFIX = ".toml"
_OLD = (".yaml", ".yml")  # the former format; one that is left must not be ignored


def _clean_options(options: dict[str, Any]) -> dict[str, OptionValue]:
    """Return options by their names; one that is true or empty takes no value."""
    cleaned: dict[str, OptionValue] = {}
    for name, value in options.items():
        if not isinstance(value, str | int):
            raise ValueError(
                f"{name} is {value!r}: write text, a number, or true for an option without value"
            )
        if value is not False:
            cleaned[name.lstrip("-")] = True if value is True or value == "" else str(value)
    return cleaned


def _read_partition(value: object) -> object:
    """Return a partition, or several as sbatch takes them."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return ",".join(value)
    if value is None or value is False or isinstance(value, str):
        return value
    raise ValueError(
        f'{value!r} is no partition: write "main", or "main,long" for whichever starts first, or '
        "false if the site chooses it"
    )


class SiteLimits(Strict):
    """What a site allows: jobs of a user in the queue, size of an array (SLURM says the rest)."""

    submit: Annotated[int, Field(ge=2)] | None = None
    array: Annotated[int, Field(ge=1)] | None = None


class SiteFile(Strict):
    """The keys of a site profile."""

    partition: Annotated[str | Literal[False] | None, BeforeValidator(_read_partition)] = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpus: Literal["gres", "gpus", "gpus-per-node", "none"] = "gres"
    gpu_type: str | None = None
    cpus_with_gpus: bool = True
    setup: tuple[str, ...] = Field((), strict=False)
    options: Annotated[dict[str, Any], AfterValidator(_clean_options)] = Field(
        default_factory=dict
    )
    directives: tuple[str, ...] = Field((), strict=False)
    python: str | None = None
    image: str | None = None
    container: Container | None = None
    mounts: tuple[str, ...] = Field((), strict=False)
    cpu_fallback: bool = False
    time: Duration | None = None
    grace: Duration = 120.0
    arrays: bool = True
    sbatch_on_nodes: bool = True
    requeue: bool = True
    limits: SiteLimits = SiteLimits()
    status_every: Duration = 40.0
    shared: tuple[str, ...] = Field((), strict=False)

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        if self.image is None and (self.container is not None or self.mounts):
            key = "container" if self.container is not None else "mounts"
            raise Invalid((key,), 'it is of an image: write image = "FILE.sif", or take it out')
        has_gpu_words = self.gpus != "none"
        try:
            for name, value in self.options.items():
                check_option(name, value, has_gpu_words)
        except (ValueError, SiteError) as error:
            raise Invalid(("options",), str(error)) from error
        try:
            for line in self.directives:
                check_directive(line, has_gpu_words)
        except (ValueError, SiteError) as error:
            raise Invalid(("directives",), str(error)) from error
        return self


def read_site(named: str | None, variables: Mapping[str, str] | None = None) -> Site:
    """Return the site of this name, or of a path to its profile; raises SweepError.

    Without a name, THERMOLION_SITE names it, else it is the profile `default`, else SLURM without
    any. What the profile leaves out is taken from variables of sbatch, such as SBATCH_ACCOUNT.
    sbatch does not see these: they would overrule the profile. `variables` are those of this
    process, unless others are given.
    """
    return fill_in(_find(named), os.environ if variables is None else variables)


def profile_folder() -> Path:
    """Return the folder of the site profiles that are chosen by name."""
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "thermolion" / "sites"


def find_profile(named: str | None) -> Path:
    """Return the file of the profile of a name or path, which may be absent; None: the default."""
    if named is not None and _is_path(named):
        return Path(named).expanduser()
    return profile_folder() / f"{named or _DEFAULT}{_SUFFIX}"


def _is_path(named: str) -> bool:
    return "/" in named or named.endswith((_SUFFIX, *_OLD))


def _find(named: str | None) -> Site:
    named = named or os.environ.get(SITE_VARIABLE)
    path, folder = find_profile(named), profile_folder()
    _refuse_old(path)
    if path.is_file():
        return _read(path)
    if named is None:
        return Site()
    if _is_path(named):
        raise SweepError(
            f"there is no site profile {path.absolute()}: name the path of one that is there, or "
            f"let `thermolion doctor --write-profile NAME` write one into {folder}"
        )
    known = sorted(profile.stem for profile in folder.glob(f"*{_SUFFIX}"))
    raise SweepError(
        f"unknown site {named!r} (profiles lie in {folder}): {choices(named, known)}; name the "
        "path of a profile, or let `thermolion doctor --write-profile NAME` write one"
    )


def _refuse_old(path: Path) -> None:
    """Raise SweepError if there is only a profile in the old format."""
    old = next((p for p in map(path.with_suffix, _OLD) if p.is_file()), None)
    if old is not None and not path.with_suffix(_SUFFIX).is_file():
        raise SweepError(
            f'{old} is YAML, and site profiles are TOML: write `partition = "gpu"` for '
            f"`partition: gpu` and so on, into {path.with_suffix(_SUFFIX).name} beside it"
        )


def _read(path: Path) -> Site:
    document = _parse(path)
    try:
        file = check(SiteFile, document.data)
    except Invalid as mistake:
        raise document.error(mistake) from mistake
    converted = {
        "time",
        "grace",
        "limits",
        "status_every",
        "shared",
        "partition",
        "container",
        "image",
    }
    return Site(
        **file.model_dump(exclude=converted),
        name=path.stem,
        profile=path.absolute(),
        partition=file.partition or None,
        container=file.container or "apptainer",
        image=_find_image(file, path.absolute().parent),
        names_partition=file.partition is not False,
        time_min=None if file.time is None else max(1, int(file.time // 60)),
        grace_s=int(file.grace),
        submit_cap=file.limits.submit,
        max_array_size=file.limits.array,
        status_every_s=file.status_every,
        shared=tuple(Path(folder).expanduser() for folder in file.shared),
    )


def _find_image(file: SiteFile, folder: Path) -> str | None:
    """Return an image by a name that holds in any folder; a path is one from the profile on."""
    if file.image is None or "://" in file.image or file.container == "pyxis":
        return file.image
    return str(folder / Path(file.image).expanduser())


def _parse(path: Path) -> Document:
    """Parse a profile; raises SweepError if it is not TOML."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SweepError(f"cannot read {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SweepError(
            f'{path}: this is not valid TOML: {error}; text goes in quotes: partition = "gpu"'
        ) from error
    return Document(path, text, data, lines=_find_lines(text))


def _find_lines(text: str) -> dict[Location, int]:
    """Return the line of every key and table, for messages alone."""
    lines: dict[Location, int] = {}
    table: Location = ()
    for number, line in enumerate(text.splitlines(), start=1):
        heading = re.match(r"\s*\[([A-Za-z0-9_.-]+)\]", line)
        key = re.match(r"\s*[\"']?([A-Za-z0-9_-]+)[\"']?(?:\.[^=]*)?\s*=", line)
        if heading is not None:
            table = tuple(heading[1].split("."))
            lines.setdefault(table, number)
        elif key is not None:
            lines.setdefault((*table, key[1]), number)
    return lines
