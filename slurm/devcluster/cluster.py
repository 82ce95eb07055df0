"""A real SLURM on one machine, in one folder, for tests and for trying a sweep out.

Needs no root and no system service. Everything listens on loopback alone; it is no cluster to
leave a machine with, and its GPUs are fake.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jobs.contract.atomic_write import write_atomically
from jobs.contract.lock import Lock, user_name
from slurm.devcluster import accounting, config
from slurm.devcluster.config import Paths, Ports, Shape
from slurm.devcluster.daemons import Daemons, find_program, locate, processes_with
from slurm.slurm_errors import SiteError, SlurmError
from slurm.waiting import poll

_PACKAGES: Mapping[str, str] = {
    "munged": "munge",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    **dict.fromkeys(("sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacctmgr"), "slurm-wlm"),
}
_LONGEST_SOCKET = 100  # bytes; the kernel takes 107
_PATIENCE_S = 120.0  # for another `up` or `down` of the same folder
_PORTS = (10_000, 32_768)  # the system gives others to connections, unless it is told otherwise
_PORTS_OF_CONNECTIONS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_DRAIN_S = 20.0  # for the jobs to end when the cluster is taken down


class ClusterError(SlurmError):
    """A cluster cannot be made or started; the message says what is missing and what to do."""


@dataclass(frozen=True)
class Cluster:
    """One cluster, up or down. Its record says what it was made with."""

    paths: Paths
    shape: Shape
    ports: Ports

    @property
    def environment(self) -> dict[str, str]:
        """What a shell needs to work with it."""
        return {
            "SLURM_CONF": str(self.paths.slurm_conf),
            "THERMOLION_SITE": str(self.paths.profile),
        }

    @property
    def daemons(self) -> Daemons:
        return Daemons(self.paths.folder / "run", self.paths.folder / "log")

    @property
    def expected(self) -> list[str]:
        """The names of its daemons, in the order in which they are started."""
        names = ["munged", *(["mariadbd", "slurmdbd"] if self.shape.accounting else [])]
        return [*names, "slurmctld", *(f"slurmd.{node}" for node in self.shape.names)]

    def up(self) -> None:
        """Start what does not run yet, and wait until every node is idle or at work."""
        with _lock(self.paths.folder):
            self._write()
            environment = self.environment
            socket_ = self.paths.munge_socket
            if not self.daemons.lives("munged"):
                socket_.unlink(missing_ok=True)
            self.daemons.start("munged", self._munged())
            self.daemons.await_("munged", socket_.exists)
            if self.shape.accounting:
                accounting.start_database(self.daemons, self.paths)
                accounting.start_slurmdbd(self.daemons, self.paths, environment)
                accounting.register(environment, self.shape.submit_cap)
            conf = str(self.paths.slurm_conf)
            self.daemons.start(
                "slurmctld", [find_program("slurmctld"), "-D", "-f", conf], environment
            )
            self.daemons.await_("slurmctld", self._answers)
            for node in self.shape.names:
                command = [find_program("slurmd"), "-D", "-N", node, "-f", conf]
                self.daemons.start(f"slurmd.{node}", command, environment)
            for node in self.shape.names:
                self.daemons.await_(f"slurmd.{node}", partial(self._is_ready, node))

    def down(self) -> int:
        """Cancel all jobs, stop all daemons; return how many there were. Logs and data stay."""
        with _lock(self.paths.folder):
            if self.daemons.lives("slurmctld") and self._answers():
                self._drain()
            stopped = [name for name in reversed(self.expected) if self.daemons.stop(name)]
            stopped += [name for name in self.daemons.names() if self.daemons.stop(name)]
            self._end_steps()
        return len(stopped)

    def states(self) -> dict[str, bool]:
        """Return the daemons by name, with True for each that lives."""
        return {name: self.daemons.lives(name) for name in self.expected}

    def nodes(self) -> dict[str, str]:
        """Return the state of every node in SLURM's words; empty if the controller is down."""
        lines = self.ask("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T").splitlines()
        return dict(line.split() for line in lines)

    def ask(self, *command: str) -> str:
        """Return what a SLURM command prints; nothing if it fails."""
        environment = os.environ | self.environment
        with contextlib.suppress(subprocess.TimeoutExpired):
            return subprocess.run(
                [find_program(command[0]), *command[1:]],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            ).stdout
        return ""

    def _write(self) -> None:
        """Write the configuration and the record; its user may have added to the profile."""
        # SLURM's name of a host is its first part.
        paths, user, host = self.paths, user_name(), socket.gethostname().partition(".")[0]
        known = read_cluster(paths.folder)
        for name in ("etc", "log", "run", "spool", "state"):
            (paths.folder / name).mkdir(parents=True, exist_ok=True)
        if not paths.munge_key.exists():
            paths.munge_key.touch(mode=0o600)
            paths.munge_key.write_bytes(secrets.token_bytes(128))
        write_atomically(
            paths.slurm_conf, config.slurm_conf(paths, self.shape, self.ports, user, host)
        )
        write_atomically(paths.gres_conf, config.gres_conf(self.shape, _devices()))
        if self.shape.accounting:
            paths.slurmdbd_conf.touch(mode=0o600)
            paths.slurmdbd_conf.write_text(config.slurmdbd_conf(paths, self.ports, user, host))
        if known is None or known.shape != self.shape or not paths.profile.exists():
            write_atomically(paths.profile, config.site_profile(self.shape))
        record = {"shape": self.shape.to_json(), "ports": asdict(self.ports)}
        write_atomically(_record(paths.folder), json.dumps(record, indent=1))

    def _munged(self) -> list[str]:
        run, log = self.paths.folder / "run", self.paths.folder / "log"
        return [
            *(find_program("munged"), "--foreground", "--force", "--num-threads=4"),
            f"--socket={self.paths.munge_socket}",
            f"--key-file={self.paths.munge_key}",
            f"--pid-file={run / 'munged.daemon'}",
            f"--log-file={log / 'munged.log'}",
            f"--seed-file={run / 'munged.seed'}",
        ]

    def _answers(self) -> bool:
        return " UP" in self.ask("scontrol", "ping")

    def _is_ready(self, node: str) -> bool:
        state = self.nodes().get(node, "").rstrip("*")
        if state.startswith("drain"):  # by SLURM, after a crash; whoever says `up` wants it back
            self.ask("scontrol", "update", f"nodename={node}", "state=resume")
        return state in ("idle", "allocated", "mixed", "completing")

    def _drain(self) -> None:
        self.ask("scancel", "--user", user_name())
        poll(lambda: not self.ask("squeue", "-h"), _DRAIN_S)

    def _end_steps(self) -> None:
        """End the steps and jobs that outlive a node's daemon: after a crash nobody else does."""
        processes = processes_with("SLURM_CONF", str(self.paths.slurm_conf))
        for pid, command, variables in list(processes):
            in_job = b"\0SLURM_JOB_ID=" in variables and pid != os.getpid()
            if in_job or command.startswith("slurmstepd"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def read_cluster(folder: Path) -> Cluster | None:
    """Return the cluster of a folder, None if none was ever made."""
    try:
        record: dict[str, Any] = json.loads(_record(folder).read_text())
        ports = record["ports"] | {"nodes": tuple(record["ports"]["nodes"])}
        return Cluster(Paths(folder), Shape(**record["shape"]), Ports(**ports))
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise ClusterError(
            f"{_record(folder)} is damaged ({error}): remove {folder}, or name another --dir"
        ) from error


def make_cluster(folder: Path, shape: Shape) -> Cluster:
    """Return the cluster that a folder is to have, on ports of its own.

    Raises SiteError for a folder that SLURM cannot work in, ClusterError if packages are missing,
    or if it is up in another shape.
    """
    # What its configuration reads as something else; MariaDB is installed by a shell script.
    odd = set(str(folder)) & set('"#%\\,\n' + (" \t" if shape.accounting else ""))
    if odd:
        raise SiteError(
            f"{str(folder)!r} has {min(odd)!r} in its name, which "
            f"{'MariaDB' if min(odd).isspace() and min(odd) != chr(10) else 'SLURM'} takes in no "
            "folder of its own: name another --dir"
        )
    check_packages(shape)
    longest = max(len(str(p)) for p in (Paths(folder).munge_socket, Paths(folder).database_socket))
    if longest > _LONGEST_SOCKET:
        raise ClusterError(
            f"{folder} is too long a name for a socket in it ({longest} bytes, {_LONGEST_SOCKET} "
            "at most): name a shorter --dir"
        )
    known = read_cluster(folder)
    if known is None or not any(known.states().values()):
        return Cluster(Paths(folder), shape, _free_ports(shape.nodes))
    if known.shape != shape:
        settings = ", ".join(f"{key} {value}" for key, value in known.shape.to_json().items())
        raise ClusterError(
            f"the cluster in {folder} is up with other settings ({settings}): take it down first, "
            "or name another --dir"
        )
    return known


def check_packages(shape: Shape) -> None:
    """Raise ClusterError for programs that are not installed, with the packages that have them."""
    wanted = dict(_PACKAGES) | (accounting.PACKAGES if shape.accounting else {})
    missing = [name for name in wanted if locate(name) is None]
    if missing:
        packages = " ".join(dict.fromkeys(wanted[name] for name in missing))
        raise ClusterError(
            f"{', '.join(missing)} not found: apt-get install {packages} (Debian and Ubuntu; "
            "elsewhere the packages of SLURM and MUNGE)"
        )


def _lock(folder: Path) -> Lock:
    """Return the lock of whoever starts or stops daemons of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return Lock(folder / "lock", wait_s=_PATIENCE_S)


def _record(folder: Path) -> Path:
    return folder / "cluster.json"


def _devices() -> list[Path]:
    """Return character devices that can stand for GPUs; nobody opens them."""
    consoles = sorted(Path("/dev").glob("tty[0-9]*"), key=lambda tty: (len(tty.name), tty.name))
    return [*consoles, *(Path("/dev") / name for name in ("null", "zero", "full", "random"))]


def _free_ports(nodes: int) -> Ports:
    """Return ports that nobody listens on at the moment.

    They are below those that the system gives to connections: one of these could be taken in the
    seconds until a daemon listens.
    """
    first, end = _PORTS
    with contextlib.suppress(OSError):  # of a system without it, the default is as good
        given = int(_PORTS_OF_CONNECTIONS.read_text().split()[0])
        end = given if given > first else end
    possible = secrets.SystemRandom().sample(range(first, end), end - first)
    numbers: list[int] = []
    with contextlib.ExitStack() as held:
        for port in possible:
            listener = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                numbers.append(port)
            if len(numbers) == nodes + 2:
                break
    if len(numbers) < nodes + 2:
        raise ClusterError(
            f"{nodes + 2} ports are needed, and of {first} to {end - 1} only {len(numbers)} are "
            "free: end what listens there, or lower --nodes"
        )
    controller, accounting, *others = numbers
    return Ports(controller, tuple(others), accounting)
