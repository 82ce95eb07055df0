"""The configuration of a development cluster as text: a pure function of what it should have.

Writes nothing and starts nothing. The settings that all clusters have in common are in the two
templates beside this module, with comments on what SLURM needs them for.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any

ACCOUNT = "lab"
DATABASE = "slurm_acct"


@dataclass(frozen=True)
class Ports:
    """Loopback ports: of the controller, of every node, of the accounting."""

    controller: int
    nodes: tuple[int, ...]
    accounting: int


@dataclass(frozen=True)
class Shape:
    """The size and the limits of a cluster; `cpus`, `memory_mb` and `gpus` are those of a node.

    Any number of CPUs may be declared: jobs share the cores that are there. GPUs are fake: they
    are counted and handed out, but nothing can be computed on them. `submit_cap` is the most jobs
    that a user may have in the queue, every array task counted (None: no limit; with accounting).
    A job that is preempted has `grace_s` to leave; a job that has to end is killed `kill_wait_s`
    later. With `kill_over_memory`, a job that takes more memory than it has asked for is killed.
    """

    nodes: int = 4
    cpus: int = 2
    memory_mb: int = 4000
    gpus: int = 2
    accounting: bool = False
    max_array_size: int = 1001
    submit_cap: int | None = None
    time_limit_min: int = 24 * 60
    grace_s: int = 10
    kill_wait_s: int = 10
    kill_over_memory: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def names(self) -> list[str]:
        return [f"n{number}" for number in range(1, self.nodes + 1)]


@dataclass(frozen=True)
class Paths:
    """Where everything of a cluster lies: one folder."""

    folder: Path

    @property
    def slurm_conf(self) -> Path:
        return self.folder / "etc" / "slurm.conf"

    @property
    def gres_conf(self) -> Path:
        return self.folder / "etc" / "gres.conf"

    @property
    def slurmdbd_conf(self) -> Path:
        return self.folder / "etc" / "slurmdbd.conf"

    @property
    def profile(self) -> Path:
        """The site profile that sends trials here."""
        return self.folder / "site.toml"

    @property
    def munge_socket(self) -> Path:
        return self.folder / "run" / "munge.sock"

    @property
    def munge_key(self) -> Path:
        return self.folder / "etc" / "munge.key"

    @property
    def database(self) -> Path:
        """The data of MariaDB and its socket; nobody else may enter."""
        return self.folder / "db"

    @property
    def database_socket(self) -> Path:
        return self.database / "db.sock"


def slurm_conf(paths: Paths, shape: Shape, ports: Ports, user: str, host: str) -> str:
    """Return slurm.conf: all daemons on this host, two partitions of unequal priority."""
    common = _fill(
        "slurm.conf",
        paths,
        user=user,
        host=host,
        port=ports.controller,
        memory_of_cpu_mb=shape.memory_mb // (2 * shape.cpus),
        max_array_size=shape.max_array_size,
        kill_wait_s=shape.kill_wait_s,
        measure_every_s=1 if shape.kill_over_memory else 5,
    )
    lines = [common]
    if shape.kill_over_memory:
        lines += ["JobAcctGatherParams=OverMemoryKill"]
    if shape.accounting:
        lines += [
            "AccountingStorageType=accounting_storage/slurmdbd",
            "AccountingStorageHost=127.0.0.1",
            f"AccountingStoragePort={ports.accounting}",
            f'AccountingStoragePass="{paths.munge_socket}"',  # so SLURM calls the socket to ask at
            "AccountingStorageTRES=gres/gpu",
            "AccountingStorageEnforce=associations,limits,qos",
        ]
    gres = f" Gres=gpu:{shape.gpus}" if shape.gpus else ""
    lines += [
        # NodeHostname is the machine's: the names of the nodes need not resolve.
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={shape.cpus} "
        f"RealMemory={shape.memory_mb}{gres} State=UNKNOWN"
        for name, port in zip(shape.names, ports.nodes, strict=True)
    ]
    every = ",".join(shape.names)
    most = _format_minutes(shape.time_limit_min)
    common = f"Nodes={every} State=UP OverSubscribe=NO MaxTime={most} DefaultTime={most}"
    yields = f"PriorityTier=1 PreemptMode=REQUEUE GraceTime={shape.grace_s}"
    lines += [
        f"PartitionName=main Default=YES {yields} {common}",
        f"PartitionName=urgent Default=NO PriorityTier=10 PreemptMode=OFF {common}",
    ]
    return "\n".join(lines) + "\n"


def gres_conf(shape: Shape, devices: Sequence[Path]) -> str:
    """Return gres.conf: GPUs that are other `devices`, as many as a node is to have.

    SLURM wants a character device for each, or it does not tell jobs which GPU is theirs.
    """
    if not shape.gpus:
        return "AutoDetect=off\n"
    files = ",".join(map(str, devices[: shape.gpus]))
    return f"AutoDetect=off\nNodeName={','.join(shape.names)} Name=gpu File={files}\n"


def slurmdbd_conf(paths: Paths, ports: Ports, user: str, host: str) -> str:
    """Return slurmdbd.conf: the accounting, on a database of its own."""
    port = ports.accounting
    return _fill("slurmdbd.conf", paths, user=user, host=host, port=port, database=DATABASE)


def site_profile(shape: Shape) -> str:
    """Return the site profile that sends trials to this cluster."""
    lines = [
        "# Written by `thermolion cluster up`: the cluster on this machine.",
        'partition = "main"',
        "cpu_fallback = true   # its GPUs are fake",
        'status_every = "2s"   # nobody else waits for its controller',
    ]
    if shape.accounting:
        lines += [f'account = "{ACCOUNT}"']
    if shape.submit_cap is not None:
        lines += [f"limits = {{submit = {shape.submit_cap}}}"]
    return "\n".join(lines) + "\n"


def _format_minutes(minutes: int) -> str:
    days, rest = divmod(minutes, 24 * 60)
    return f"{days}-{rest // 60:02d}:{rest % 60:02d}:00"


def _fill(name: str, paths: Paths, **values: object) -> str:
    """Return a configuration file of SLURM: the template of that name with its values."""
    template = Template(Path(__file__).with_name(f"{name}.template").read_text())
    return template.substitute(values, folder=paths.folder, munge_socket=paths.munge_socket)
