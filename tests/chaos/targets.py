"""What a fault can hit: tasks by SLURM's word, processes by that of the machine.

Looks alone; harms nothing.
"""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from processes import wait_for
from subject import STUDY

from slurm.devcluster.cluster import Cluster
from slurm.devcluster.daemons import processes_with

HELPER = "-after"  # what the name of the job ends with that looks after the study
_AGAIN_S = 5.0
_ENDS_S = 8.0  # longer than a job has from the first signal to the last
_BEGINS_S = 25.0  # a job younger than twenty seconds SLURM does not miss


class Missed(Exception):  # noqa: N818 - a state: there was nothing to hit
    """A fault that has hit nobody."""


@dataclass(frozen=True)
class Task:
    """One task of an array that runs: as scontrol takes it, the job's own number, its nodes."""

    id: str
    job: int
    nodes: str

    @property
    def node(self) -> str:
        """The first one of a list such as n1 or n[1-2]."""
        prefix, bracket, rest = self.nodes.partition("[")
        return prefix + re.split("[-,]", rest)[0] if bracket else prefix.partition(",")[0]


@dataclass(frozen=True)
class Rank:
    """One process of ours in a job."""

    pid: int
    job: int
    ranks: int


@dataclass
class Targets:
    """The queue of a study as it was last seen, and its processes as they are now.

    `helpers` are the jobs that look after the study: the other lists have the jobs that train.
    """

    cluster: Cluster
    running: list[Task] = field(default_factory=list)
    helpers: list[int] = field(default_factory=list)
    waiting: int = 0
    _begun: set[str] = field(default_factory=set)
    _silent: dict[str, float] = field(default_factory=dict)
    _let: dict[str, float] = field(default_factory=dict)

    @property
    def queue_is_empty(self) -> bool:
        """True if nothing of the study was in the queue."""
        return not self.running and not self.waiting

    def look(self) -> None:
        """See what is in the queue; what waits for its time after a requeue may start.

        What was sent to begin later has its reasons, and is left alone.
        """
        said = self.cluster.ask("squeue", "-h", "-r", "-o", "%j|%T|%r|%F_%K|%A|%N")
        ours = [line.split("|") for line in said.splitlines() if line.startswith(f"{STUDY}-")]
        self.helpers = [int(words[4]) for words in ours if words[0].endswith(HELPER)]
        ours = [words for words in ours if not words[0].endswith(HELPER)]
        self.running = [Task(w[3], int(w[4]), w[5]) for w in ours if w[1] == "RUNNING"]
        self.waiting = len(ours) - len(self.running)
        self._begun |= {task.id for task in self.running}
        ending = (words[3] for words in ours if words[1] == "COMPLETING")
        seen = {rank.job for rank in self.all_ranks()}
        gone = (task.id for task in self.running if task.job not in seen)
        self._report_again(dict.fromkeys(ending, _ENDS_S) | dict.fromkeys(gone, _BEGINS_S))
        for words in ours:
            if words[2] == "BeginTime" and words[3] in self._begun:
                self._let_start(words[3])

    def _let_start(self, task: str) -> None:
        """Have a task start, but not in the second of its last end: its node would refuse it."""
        now = time.monotonic()
        if now - self._let.get(task, -_AGAIN_S) >= _AGAIN_S:
            self._let[task] = now
            self.cluster.ask("scontrol", "update", f"jobid={task}", "StartTime=now+2")

    def _report_again(self, patience_s: Mapping[str, float]) -> None:
        """Have the nodes report again of which nothing was heard, by task, for so many seconds.

        SLURM asks them by itself, but within minutes: a node was down as it was to be told of an
        end, or the controller was killed before it had saved one, and takes the job for a running
        one.
        """
        now = time.monotonic()
        self._silent = {task: self._silent.get(task, now) for task in patience_s}
        if any(now - since > patience_s[task] for task, since in self._silent.items()):
            self.cluster.ask("scontrol", "reconfigure")
            self._silent = dict.fromkeys(patience_s, now)

    def all_ranks(self) -> list[Rank]:
        """Return the processes of the study, by pid; those that SLURM has lost as well."""
        found = []
        for pid, command, variables in self._inside():
            said = dict(p.split("=", 1) for p in variables.decode().split("\0") if "=" in p)
            if "slurm.node" in command and "python" in command.split()[0]:
                ranks = int(said.get("SLURM_STEP_NUM_TASKS", 1))
                found.append(Rank(pid, int(said["SLURM_JOB_ID"]), ranks))
        return sorted(found, key=lambda rank: rank.pid)

    def processes_of(self, module: str) -> list[int]:
        """Return the pids of the cluster's processes that run a module of ours."""
        return [pid for pid, command, _ in self._inside() if f" -m {module} " in command]

    def ranks(self, several: bool | None = None) -> list[Rank]:
        """Return those of trials of one rank, of several, or all; raises Missed for none."""
        found = [r for r in self.all_ranks() if several in (None, r.ranks > 1)]
        if not found:
            raise Missed("no such process")
        return found

    def steps(self) -> list[int]:
        """Return the pids of slurmstepd that look after our processes; raises Missed for none."""
        jobs = {rank.job for rank in self.all_ranks()}
        found = []
        for pid, command, _ in self._inside():
            step = re.match(r"slurmstepd: \[(\d+)\.", command)
            if step and int(step[1]) in jobs:
                found.append(pid)
        if not found:
            raise Missed("no step")
        return sorted(found)

    def _inside(self) -> Iterator[tuple[int, str, bytes]]:
        return processes_with("SLURM_CONF", str(self.cluster.paths.slurm_conf))


def await_gone(pid: int) -> None:
    """Wait until a process has ended."""
    wait_for(lambda: _gone(pid))


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
