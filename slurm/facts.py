"""What a cluster says of itself: partitions, limits, accounts, the addresses of its nodes.

Asked by three or four commands, or answered from a folder in which answers were recorded: a file
for each, `NAME.txt` with what was printed or `NAME.error` with why there is none. What a sweep may
ask for is judged in `slurm.limits`.
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

_DEFAULT_ARRAY = 1001  # SLURM's own
_ADDRESS = "THERMOLION_NODE_ADDRESS"
# Takes the name of a question and its command; raises SlurmError if there is no answer.
Ask = Callable[[str, Sequence[str]], str]


def ask_site(_name: str, command: Sequence[str]) -> str:
    """Ask the site."""
    return commands.ask(command)


def record_answers(folder: Path) -> Ask:
    """Return a function that asks the site and writes every answer into a folder."""
    folder.mkdir(parents=True, exist_ok=True)

    def asked(name: str, command: Sequence[str]) -> str:
        try:
            said = ask_site(name, command)
        except SlurmError as error:
            write_atomically(folder / f"{name}.error", f"{error}\n")
            raise
        write_atomically(folder / f"{name}.txt", said)
        return said

    return asked


def replay_answers(folder: Path) -> Ask:
    """Return a function that answers from a folder, and asks nobody."""

    def asked(name: str, command: Sequence[str]) -> str:
        refused = folder / f"{name}.error"
        if refused.is_file():
            raise SlurmError(refused.read_text().strip())
        try:
            return (folder / f"{name}.txt").read_text()
        except FileNotFoundError as error:
            raise SlurmError(
                f"{folder} has no {name}.txt: record it there with {' '.join(command)}"
            ) from error

    return asked


@dataclass(frozen=True)
class Partition:
    """One partition; `cpus`, `memory_mb` and `gpus` are the most that one of its nodes has.

    `time_min` is None if it has no limit; `gpu_types` are the words for them, if they have any.
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


@dataclass(frozen=True)
class Facts:
    """What was read. `accounts` are those of the user, None if the site does not say.

    `submit_cap` is the most jobs that the user may have in the queue, None if none is known.
    The memory is what a job has that asks for none, for a CPU or on a node (None: nobody says).
    `qos` are those that the user may name, with the most jobs that each takes of a user; those of
    partitions are among them, with what they are called. `config` are the settings by name.
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

    def default_memory_mb(self, cpus: int) -> int | None:
        """Return what a job on so many CPUs of a node has of its memory, None for all of it."""
        if self.memory_of_cpu_mb is not None:
            return cpus * self.memory_of_cpu_mb
        return self.memory_of_node_mb


def read_facts(user: str, ask: Ask = ask_site) -> Facts:
    """Ask the cluster; raises SlurmError if there is none or it does not answer."""
    config = parse_config(ask("config", ["scontrol", "show", "config"]))
    partitions = parse_partitions(
        ask("sinfo", ["sinfo", "--noheader", "--exact", "--all", "--format=%P|%a|%l|%D|%c|%m|%G"])
    )
    size = int(config.get("MaxArraySize", _DEFAULT_ARRAY))
    known = Facts(
        size,
        partitions,
        config=config,
        memory_of_cpu_mb=_memory(config, "DefMemPerCPU"),
        memory_of_node_mb=_memory(config, "DefMemPerNode"),
    )
    if "slurmdbd" not in config.get("AccountingStorageType", ""):
        return known
    enforced = config.get("AccountingStorageEnforce", "").lower().split(",")
    if enforced in ([""], ["none"]):
        return known
    try:
        fields = "format=account,user,maxsubmit,qos,defaultaccount"
        mine = ["show", "associations", f"user={user}", "withsubaccounts", fields]
        associations = _table("associations", mine, ask)
        qos = dict(_table("qos", ["show", "qos", "format=name,maxsubmitpu"], ask))
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
    )


def parse_config(text: str) -> dict[str, str]:
    """Return the settings that `scontrol show config` prints, by name."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def parse_partitions(text: str) -> dict[str, Partition]:
    """Return partitions by name from lines of sinfo, one for every kind of node in each."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        name, state, time, nodes, cpus, memory, gres = line.strip().split("|", 6)
        is_default, name = name.endswith("*"), name.rstrip("*")
        known = found.get(name)
        found[name] = Partition(
            name,
            is_default,
            state == "up",
            parse_minutes(time),
            int(nodes) + (known.nodes if known else 0),
            max(_number(cpus), known.cpus if known else 0),
            max(_number(memory), known.memory_mb if known else 0),
            max(_gpus(gres), known.gpus if known else 0),
            tuple(dict.fromkeys((*(known.gpu_types if known else ()), *_gpu_types(gres)))),
        )
    return found


def parse_minutes(text: str) -> int | None:
    """Return the minutes of a time such as 1-12:00:00, 30:00 or infinite (None)."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)??(\d+):(\d+)", text)
    if found is None:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in found.groups())
    return (24 * days + hours) * 60 + minutes


def expand_nodes(node_list: str) -> tuple[str, ...]:
    """Return the names in a list of nodes as SLURM writes it, such as n[1-3]."""
    return tuple(commands.ask(["scontrol", "show", "hostnames", node_list]).split())


def find_address(node: str) -> str:
    """Return the IP address of this node, by which the others of its job reach it.

    It is the one by which SLURM does, unless a site's `python` has set another one. If its name
    resolves to none here, it is what this machine has by its own name.
    """
    told = os.environ.get(_ADDRESS)
    if told:
        return told
    found = re.search(r"\bNodeAddr=(\S+)", commands.ask(["scontrol", "show", "node", node]))
    for name in (found[1] if found else node, node, socket.gethostname()):
        try:
            return socket.gethostbyname(name)
        except OSError:
            continue
    return "127.0.0.1"


def _memory(config: Mapping[str, str], name: str) -> int | None:
    text = config.get(name, "")
    return int(text) or None if text.isdecimal() else None


def _table(name: str, command: Sequence[str], ask: Ask) -> list[list[str]]:
    said = ask(name, ["sacctmgr", "--noheader", "--parsable2", *command])
    return [line.split("|") for line in said.splitlines() if line]


def _cap(associations: Sequence[Sequence[str]], qos: Mapping[str, str]) -> int | None:
    """Return the tightest cap of all that may apply: which one does, only sbatch knows."""
    caps = [row[2] for row in associations]
    caps += [qos.get(name, "") for row in associations for name in row[3].split(",")]
    return min((int(cap) for cap in caps if cap.isdecimal()), default=None)


def _gpus(gres: str) -> int:
    """Return the GPUs in a list such as gpu:a100:4(S:0-1),shard:8."""
    counted = re.findall(r"(?:^|,)gpu(?::[^:,(]+)?:(\d+)", gres)
    return sum(int(count) for count in counted)


def _gpu_types(gres: str) -> list[str]:
    return re.findall(r"(?:^|,)gpu:([^:,(]+):\d", gres)


def _number(text: str) -> int:
    return int(text.rstrip("+") or 0)
