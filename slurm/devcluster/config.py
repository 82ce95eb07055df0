"""The configuration of a development cluster as text: a pure function of what it should have.

Writes nothing and starts nothing. Field by field, the comments say what SLURM needs it for.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
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
    """What a cluster has. `cpus`, `memory_mb` and `gpus` are those of one node.

    Any number of CPUs may be declared: jobs share the cores that are there. GPUs are fake: they
    are counted and handed out, but nothing can be computed on them. `submit_cap` is the most jobs
    that a user may have in the queue, every array task counted (None: no limit; with accounting).
    A job that is preempted has `grace_s` to leave; whoever is told to end is killed `kill_wait_s`
    later. `kill_over_memory`: a job that takes more than it has asked for is killed.
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

    def log(self, daemon: str) -> Path:
        return self.folder / "log" / f"{daemon}.log"


def slurm_conf(paths: Paths, shape: Shape, ports: Ports, user: str, host: str) -> str:
    """Return slurm.conf: all daemons on this host, two partitions of unequal priority."""
    folder = paths.folder
    settings = {
        "ClusterName": "thermolion",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmUser": user,
        "SlurmdUser": user,
        "SlurmctldPort": ports.controller,
        # Bind to the addresses given here, loopback, instead of all that the machine has.
        "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
        "AuthType": "auth/munge",
        "CredType": "cred/munge",
        "AuthInfo": f"socket={paths.munge_socket}",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool" / "%n",
        "SlurmctldPidFile": folder / "run" / "slurmctld.daemon",
        "SlurmdPidFile": folder / "run" / "slurmd.%n.daemon",
        "SlurmctldLogFile": paths.log("slurmctld"),
        "SlurmdLogFile": paths.log("slurmd.%n"),
        # No control groups: they need root and a machine of one's own.
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=5",
        "SlurmdParameters": "config_overrides",  # as many CPUs as we say
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "DefMemPerCPU": shape.memory_mb // (2 * shape.cpus),
        "GresTypes": "gpu",
        "SchedulerType": "sched/backfill",
        # Look for work at once and often: people and tests wait for it.
        "SchedulerParameters": "bf_interval=2,sched_interval=2,sched_min_interval=0,"
        "batch_sched_delay=0",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "JobRequeue": 1,
        "MaxArraySize": shape.max_array_size,
        "MaxJobCount": 10_000,
        "MinJobAge": 300,
        "KillWait": shape.kill_wait_s,
        "ReturnToService": 2,
        "SlurmctldTimeout": 60,
        "SlurmdTimeout": 60,
        "InactiveLimit": 0,
        "MpiDefault": "none",
        "MailProg": "/bin/true",
    }
    if shape.kill_over_memory:
        settings |= {"JobAcctGatherParams": "OverMemoryKill", "JobAcctGatherFrequency": "task=1"}
    if shape.accounting:
        settings |= {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": ports.accounting,
            "AccountingStoragePass": paths.munge_socket,  # so SLURM calls the socket to ask at
            "AccountingStorageTRES": "gres/gpu",
            "AccountingStorageEnforce": "associations,limits,qos",
        }
    lines = [f"{key}={value}" for key, value in settings.items()]
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
    settings = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={paths.munge_socket}",
        "DbdHost": host,
        "DbdAddr": "127.0.0.1",
        "DbdPort": ports.accounting,
        "SlurmUser": user,
        "LogFile": paths.log("slurmdbd"),
        "PidFile": paths.folder / "run" / "slurmdbd.daemon",
        "CommunicationParameters": "NoInAddrAny",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",  # by the socket that MYSQL_UNIX_PORT names
        "StorageUser": "root",
        "StorageLoc": DATABASE,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


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
