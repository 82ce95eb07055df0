"""A site: how its cluster wants jobs to be asked for, and what it allows. Reads no profile."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# How GPUs are asked for. Sites contradict each other: what one demands another one refuses.
GpuDialect = Literal["gres", "gpus", "gpus-per-node", "none"]


@dataclass(frozen=True)
class Site:
    """Where jobs go, and in which words they are asked for.

    `gpus` is the dialect in which GPUs are asked for (`none`: not at all, the partition has them)
    and `gpu_type` their type, if one must be named. `setup` are shell lines before anything
    starts on a node; `options` further options of sbatch by name. `cpu_fallback`: if a node shows
    no GPU to a job that was given one, train on the CPU instead of failing. `grace_s`
    seconds before the time limit trials are asked to save and end. `sbatch_on_nodes`: a job may
    submit others, `requeue`: it may be put back into the queue. `submit_cap` and `max_array_size`
    override what SLURM says. `shared` are the folders that nodes see as well; empty if that is
    not known.
    """

    name: str = "default"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpus: GpuDialect = "gres"
    gpu_type: str | None = None
    cpus_with_gpus: bool = True
    setup: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None
    cpu_fallback: bool = False
    time_min: int | None = None
    grace_s: int = 120
    sbatch_on_nodes: bool = True
    requeue: bool = True
    submit_cap: int | None = None
    max_array_size: int | None = None
    status_every_s: float = 40.0
    shared: tuple[Path, ...] = ()

    @property
    def destination(self) -> Mapping[str, str]:
        """Where jobs go, by the option of sbatch that says it; without what is left open."""
        options = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
        }
        return {option: value for option, value in options.items() if value is not None}
