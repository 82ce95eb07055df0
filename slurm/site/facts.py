"""What a cluster says of itself: partitions, limits, accounts, the addresses of its nodes.

Three or four commands are asked, or a folder in which their answers were recorded: a file for
each, `NAME.txt` with what was printed or `NAME.error` with why there is none. What a sweep may ask
for is judged in `slurm.limits`.
"""

import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from jobs.contract.atomic_write import write_atomically
from slurm import commands
from slurm.slurm_errors import SlurmError

USUAL_ARRAY = 1001  # jobs at most: SLURM's own default
_ADDRESS = "THERMOLION_NODE_ADDRESS"
# Types and counts of the GPUs in a list such as gpu:a100:4(S:0-1),shard:8.
_GPUS = re.compile(r"(?:^|,)gpu(?::([^:,(]+))?:(\d+)")
# Takes the name of a question and its command; raises SlurmError if there is no answer.
Ask = Callable[[str, Sequence[str]], str]


def ask_site(_name: str, command: Sequence[str]) -> str:
    """Return what a command prints on this site; the name of the question is of no interest."""
    return commands.ask(command)


def record_answers(folder: Path) -> Ask:
    """Return a function that asks the site and writes every answer into a folder."""
    folder.mkdir(parents=True, exist_ok=True)

    def ask(name: str, command: Sequence[str]) -> str:
        try:
            text = ask_site(name, command)
        except SlurmError as error:
            write_atomically(folder / f"{name}.error", f"{error}\n")
            raise
        write_atomically(folder / f"{name}.txt", text)
        return text

    return ask


def replay_answers(folder: Path) -> Ask:
    """Return a function that answers from a folder, and asks nobody."""

    def ask(name: str, command: Sequence[str]) -> str:
        refusal = folder / f"{name}.error"
        if refusal.is_file():
            raise SlurmError(refusal.read_text().strip())
        try:
            return (folder / f"{name}.txt").read_text()
        except FileNotFoundError as error:
            raise SlurmError(
                f"{folder} has no {name}.txt: record it there with {' '.join(command)}"
            ) from error

    return ask


@dataclass(frozen=True)
class Partition:
    """One partition; `cpus`, `memory_mb` and `gpus` are the most that one of its nodes has.

    `time_min` is None if it has no limit; `gpu_types` are the names of its types of GPUs, empty if
    they have none. Of its nodes so many are `unavailable`: down or drained.
    """

    name: str
    is_default: bool
    is_up: bool
    time_min: int | None
    nodes: int
    cpus: int
    memory_mb: int
    gpus: int
    gpu_types: tuple[str, ...] = ()
    unavailable: int = 0


@dataclass(frozen=True)
class JobPolicy:
    """What a QOS, or an account of the user, allows; None and empty if it sets no limit.

    `job` are the most CPUs, nodes and the like of one job by SLURM's names of them, `group` those
    of all jobs under it at a time; `max_jobs` of a user may run at a time.
    """

    name: str
    time_min: int | None = None
    max_jobs: int | None = None
    job: Mapping[str, int] = field(default_factory=dict)
    group: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What a cluster says of itself. `config` are its settings, by name.

    `accounts` and `qos` are those that the user may name, None if the site does not say.
    `submit_cap` is the most jobs that the user may have in the queue, None if none is known;
    `qos_caps` are the most that a QOS takes of a user, by its name, those of partitions among
    them. `qos_policies` and `account_policies` say what QOS and the user's accounts allow, by
    name; `default_qos` is that of a job that names none, None if it is not told. The memory is
    what a job has that asks for none, for a CPU or on a node (None: unknown).
    `federation` is that of the cluster, if it is in one.
    """

    max_array_size: int
    partitions: Mapping[str, Partition]
    accounts: frozenset[str] | None = None
    default_account: str | None = None
    submit_cap: int | None = None
    qos: frozenset[str] | None = None
    qos_caps: Mapping[str, int] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    memory_of_cpu_mb: int | None = None
    memory_of_node_mb: int | None = None
    federation: str | None = None
    qos_policies: Mapping[str, JobPolicy] = field(default_factory=dict)
    account_policies: Mapping[str, JobPolicy] = field(default_factory=dict)
    default_qos: str | None = None

    @property
    def has_slurmdbd(self) -> bool:
        """True if the cluster has slurmdbd: without it nobody asks for accounts."""
        return "slurmdbd" in self.config.get("AccountingStorageType", "")

    def default_memory_mb(self, cpus: int) -> int | None:
        """Return what a job on so many CPUs of a node has of its memory, None for all of it."""
        if self.memory_of_cpu_mb is not None:
            return cpus * self.memory_of_cpu_mb
        return self.memory_of_node_mb


def read_facts(user: str, ask: Ask = ask_site) -> Facts:
    """Ask the cluster; raises SlurmError if there is none or it does not answer."""
    config = parse_config(ask("config", ["scontrol", "show", "config"]))
    partitions = parse_partitions(
        ask(
            "sinfo",
            ["sinfo", "--noheader", "--exact", "--all", "--format=%P|%a|%l|%D|%c|%m|%G|%F"],
        )
    )
    size = int(config.get("MaxArraySize", USUAL_ARRAY))
    known = Facts(
        size,
        partitions,
        config=config,
        memory_of_cpu_mb=parse_count(config.get("DefMemPerCPU", "")) or None,
        memory_of_node_mb=parse_count(config.get("DefMemPerNode", "")) or None,
    )
    if known.has_slurmdbd:  # without it there is no federation
        known = replace(known, federation=_read_federation(ask))
    enforced = config.get("AccountingStorageEnforce", "").lower().split(",")
    if not known.has_slurmdbd or enforced in ([""], ["none"]):
        return known
    try:
        fields = "format=account,user,maxsubmit,qos,defaultaccount,maxwall,maxjobs,maxtres,grptres"
        mine = ["show", "associations", f"user={user}", "withsubaccounts", fields + ",defaultqos"]
        associations = _table("associations", mine, ask)
        fields = "format=name,maxsubmitpu,maxwall,maxjobspu,maxtres,grptres"
        of_qos = _table("qos", ["show", "qos", fields], ask)
        qos = {row[0]: row[1] for row in of_qos}
        default = _table("user", ["show", "user", user, "format=defaultaccount"], ask)
    except SlurmError:
        return known  # no right to look, or the accounting is down
    limited = "limits" in enforced
    return replace(
        known,
        accounts=frozenset(row[0] for row in associations),
        default_account=default[0][0] if default else None,
        submit_cap=_cap(associations, qos) if limited else None,
        qos=frozenset(name for row in associations for name in row[3].split(",") if name),
        qos_caps={name: int(cap) for name, cap in qos.items() if limited and cap.isdecimal()},
        qos_policies={r[0]: _policy(f"QOS {r[0]!r}", r[2:]) for r in of_qos if limited},
        account_policies={
            row[0]: _policy(f"account {row[0]!r}", row[5:]) for row in associations if limited
        },
        default_qos=_find_default_qos(associations),
    )


def _read_federation(ask: Ask) -> str | None:
    try:
        text = ask("federation", ["scontrol", "show", "federation"])
    except SlurmError:
        return None
    match = re.search(r"^Federation:\s*(\S+)", text, re.M)
    return match[1] if match else None


def parse_config(text: str) -> dict[str, str]:
    """Return the settings that `scontrol show config` prints, by name."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def parse_partitions(text: str) -> dict[str, Partition]:
    """Return partitions by name from lines of sinfo, one for every kind of node in each."""
    partitions: dict[str, Partition] = {}
    for line in text.splitlines():
        name, state, time, nodes, cpus, memory, gres, *counts = line.strip().split("|")
        is_default, name = name.endswith("*"), name.rstrip("*")
        blank = Partition(name, is_default, state == "up", parse_minutes(time), 0, 0, 0, 0)
        before = partitions.get(name, blank)
        gpus = _GPUS.findall(gres)
        partitions[name] = replace(
            before,
            nodes=before.nodes + int(nodes),
            unavailable=before.unavailable + _count_unavailable(counts),
            cpus=max(before.cpus, _number(cpus)),
            memory_mb=max(before.memory_mb, _number(memory)),
            gpus=max(before.gpus, sum(int(count) for _, count in gpus)),
            gpu_types=tuple(dict.fromkeys([*before.gpu_types, *(t for t, _ in gpus if t)])),
        )
    return partitions


def parse_count(text: str) -> int | None:
    """Return a number of SLURM's, None if it prints a word in its place, such as UNLIMITED."""
    return int(text) if text.isdecimal() else None


def parse_minutes(text: str) -> int | None:
    """Return the minutes of a time such as 1-12:00:00, 30:00 or infinite (None)."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)??(\d+):(\d+)", text)
    if match is None:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in match.groups())
    return (24 * days + hours) * 60 + minutes


def expand_nodes(node_list: str) -> tuple[str, ...]:
    """Return the names in a list of nodes as SLURM writes it, such as n[1-3]."""
    return tuple(commands.ask(["scontrol", "show", "hostnames", node_list]).split())


def find_address(node: str) -> str:
    """Return the IP address by which other nodes of a job reach this node, named `node`.

    It is that of the variable THERMOLION_NODE_ADDRESS, if the `python` of a site sets it, else the
    one that SLURM uses, else that of this machine's own name.
    """
    if address := os.environ.get(_ADDRESS):
        return address
    match = re.search(r"\bNodeAddr=(\S+)", commands.ask(["scontrol", "show", "node", node]))
    for name in (match[1] if match else node, node, socket.gethostname()):
        try:
            return socket.gethostbyname(name)
        except OSError:
            continue
    return "127.0.0.1"


def _table(name: str, command: Sequence[str], ask: Ask) -> list[list[str]]:
    text = ask(name, ["sacctmgr", "--noheader", "--parsable2", *command])
    return [line.split("|") for line in text.splitlines() if line]


def _cap(associations: Sequence[Sequence[str]], qos: Mapping[str, str]) -> int | None:
    """Return the tightest cap of all that may apply: which one does, only sbatch knows."""
    caps = [row[2] for row in associations]
    caps += [qos.get(name, "") for row in associations for name in row[3].split(",")]
    return min((int(cap) for cap in caps if cap.isdecimal()), default=None)


def _policy(name: str, fields: Sequence[str]) -> JobPolicy:
    """Return a policy by fields of sacctmgr: time, jobs at a time, what a job and all may have."""
    time, jobs, job, group = (*fields, *4 * [""])[:4]
    return JobPolicy(name, parse_minutes(time), parse_count(jobs), _tres(job), _tres(group))


def _tres(text: str) -> dict[str, int]:
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name: int(value) for name, _, value in pairs if value.isdecimal()}


def _find_default_qos(associations: Sequence[Sequence[str]]) -> str | None:
    """Return the QOS of jobs that name none: the default, or the only one that there is."""
    named = {row[9] for row in associations if len(row) > 9 and row[9]}
    every = {name for row in associations for name in row[3].split(",") if name}
    found = named or every
    return found.pop() if len(found) == 1 else None


def _count_unavailable(counts: Sequence[str]) -> int:
    """Return the nodes that are neither allocated nor idle, from sinfo's four counts."""
    parts = counts[0].split("/") if counts else []
    return int(parts[2]) if len(parts) == 4 and parts[2].isdecimal() else 0


def _number(text: str) -> int:
    return int(text.rstrip("+") or 0)
