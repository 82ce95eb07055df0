"""A site: how its cluster wants jobs to be asked for, and what it allows. Reads no profile."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

# What runs an image on a node; pyxis is a plugin of srun, for enroot.
Container = Literal["apptainer", "singularity", "pyxis"]
# True for an option that takes no value.
OptionValue = str | bool
# How GPUs are asked for. Sites contradict each other: what one demands another one refuses.
GpuDialect = Literal["gres", "gpus", "gpus-per-node", "none"]


@dataclass(frozen=True)
class Site:
    """Where jobs go, and in which words they are asked for.

    `gpus` is the dialect in which GPUs are asked for (`none`: not at all, the partition has them)
    and `gpu_type` their type, if one must be named. `names_partition` is False if the site itself
    chooses the partition, and none may be named; `partition` may be a list, with commas. `setup`
    are shell lines before anything starts on a node; `options` further options of sbatch by name,
    `directives` lines that stand below those of our own, such as `#SBATCH --licenses=a`.
    `python` starts Python on the nodes, or in the `image`, if there is one, which `container` runs
    and which sees `shared` and `mounts` of the node, written SOURCE or SOURCE:TARGET.
    `cpu_fallback`: if a node shows no GPU to a job that was given one, train on the CPU instead of
    failing. `grace_s` seconds before the time limit trials are asked to save and end.
    `sbatch_on_nodes`: a job may submit others, `requeue`: it may be put back into the queue.
    `submit_cap` and `max_array_size` override what SLURM says; without `arrays`, every pack is a
    job of its own. `shared` are the folders that nodes see as well; empty if that is not known.
    `profile` is the file that says all this, None if there is none, and `shell` the variables of
    its user's shell that fill in what it leaves open.
    """

    name: str = "default"
    partition: str | None = None
    names_partition: bool = True
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpus: GpuDialect = "gres"
    gpu_type: str | None = None
    cpus_with_gpus: bool = True
    setup: tuple[str, ...] = ()
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    directives: tuple[str, ...] = ()
    python: str | None = None
    image: str | None = None
    container: Container = "apptainer"
    mounts: tuple[str, ...] = ()
    cpu_fallback: bool = False
    time_min: int | None = None
    grace_s: int = 120
    sbatch_on_nodes: bool = True
    requeue: bool = True
    submit_cap: int | None = None
    max_array_size: int | None = None
    arrays: bool = True
    status_every_s: float = 40.0
    shared: tuple[Path, ...] = ()
    profile: Path | None = None
    shell: Mapping[str, str] = field(default_factory=dict)

    @property
    def partitions(self) -> tuple[str, ...]:
        """The partitions that are named; whichever can start a job first runs it."""
        return tuple(name.strip() for name in (self.partition or "").split(",") if name.strip())

    @property
    def destination(self) -> Mapping[str, str]:
        """Where jobs go, by the option of sbatch that says it; without what is left open."""
        options = {
            "partition": ",".join(self.partitions) or None,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
        }
        return {option: value for option, value in options.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """Return the site as a study records it."""
        profile = None if self.profile is None else str(self.profile)
        return asdict(self) | {"shared": list(map(str, self.shared)), "profile": profile}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "Site":
        """Return the site of a record; what it does not know of is as if nothing were said."""
        known = {one.name: record[one.name] for one in fields(Site) if one.name in record}
        for name in ("setup", "shared", "directives", "mounts"):
            known[name] = tuple(known.get(name, ()))
        known["shared"] = tuple(map(Path, known["shared"]))
        profile = known.get("profile")
        return Site(**known | {"profile": None if profile is None else Path(profile)})
