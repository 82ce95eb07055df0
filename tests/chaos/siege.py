"""A study on a real cluster to which faults are done, one after another, while its user submits.

Knows no fault: those are in `faults`, which take a siege and one entry of the schedule.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from processes import wait_for
from schedule import Planned
from slurm_lab import Lab
from subject import STUDY, SWEEP, TRIALS, progress

from jobs.layout import Layout
from slurm.daemons import DaemonError, processes_with
from slurm.dev_cluster import Cluster

_SEAM = Path(__file__).parent / "unsteady"
_LOOK_S = 0.1
_QUEUE_S = 1.0  # between two looks at the queue
_SUBMIT_S = 6.0  # between two calls of `submit`, unless nothing is in the queue any more
_SLOW_S = 0.4  # what one line of a log takes while the study is ahead of the faults
_RANKS_SLOW_S = 1.0
_NEVER_S = 400.0  # something to strike at turns up earlier, or the siege is stuck
_END_S = 600.0  # for what is left once all is quiet


class Missed(Exception):  # noqa: N818 - a state: there was nothing to hit
    """A fault that has hit nobody."""


Fault = Callable[["Siege", Planned], None]


@dataclass(frozen=True)
class Task:
    """One task of an array that runs: as scontrol takes it, the job's own number, its nodes."""

    id: str
    job: int
    nodes: str


@dataclass(frozen=True)
class Rank:
    """One process of ours in a job."""

    pid: int
    job: int
    ranks: int


@dataclass
class Siege:
    """The study, who submits it, and what is broken at the moment.

    `faults` counts those that have hit, `missed` those that found nobody; `said` is what `submit`
    printed where it did not answer 0, `story` what was done, in order.
    """

    lab: Lab
    faults: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    submit_s: float = 3.0  # what the last whole one took
    _broken: list[tuple[float, str, Callable[[], None]]] = field(default_factory=list)
    _submitting: subprocess.Popen[str] | None = None
    _submitted: float = 0.0
    _looked: float = 0.0
    _tasks: list[Task] = field(default_factory=list)
    _waiting: int = 0

    def __post_init__(self) -> None:
        self.sweep = self.lab.write(SWEEP, f"{STUDY}.yaml")
        self.seam.mkdir()

    @property
    def cluster(self) -> Cluster:
        return self.lab.cluster

    @property
    def layout(self) -> Layout:
        return self.lab.layout(STUDY)

    @property
    def seam(self) -> Path:
        """Where it is written what is off with clocks and files."""
        return self.lab.folder / "seam"

    @property
    def variables(self) -> dict[str, str]:
        """What puts the seam under the processes of the study."""
        seam = {"CHAOS": str(self.seam), "CHAOS_STUDY": str(self.layout.folder)}
        return seam | {"PYTHONPATH": str(_SEAM), "PATH": f"{self.stand_ins}:{os.environ['PATH']}"}

    @property
    def seconds(self) -> float:
        """How long it has lasted by now."""
        return time.monotonic() - self.began

    @property
    def stand_ins(self) -> Path:
        """A folder with commands that are found before SLURM's own."""
        return self.lab.folder / "bin"

    def turn_to(self, name: str, value: float) -> None:
        """Say what is off; whole at once for whoever reads it."""
        draft = self.seam / f".{name}"
        draft.write_text(f"{value:.3f}")
        draft.replace(self.seam / name)

    # What goes on beside the faults.

    def strike(self, planned: Planned, fault: Fault) -> bool:
        """Do one fault at its moment; return whether it has hit."""
        self._await_points(planned.points)
        try:
            fault(self, planned)
        except Missed as why:
            self.missed[planned.kind] += 1
            self.tell(f"    {planned.kind}: {why}")
            return False
        self.faults[planned.kind] += 1
        self.tell(planned.kind)
        return True

    def pace(self, struck: float, ranks: bool) -> None:
        """Slow the study down where it is ahead of the faults, of which a part is `struck`.

        So the faults hit it on a machine of any speed. `ranks`: some of them need trials of
        several ranks, which take their time as long as it is so.
        """
        _, ends = progress(self.layout)
        self.turn_to("slow.ranks", _RANKS_SLOW_S if ranks else 0.0)
        self.turn_to("slow", _SLOW_S if ends > struck * (TRIALS - 4) else 0.0)

    def settle(self) -> bool:
        """Mend everything and submit until every trial has ended; return whether all have."""
        self.mend()
        self.pace(1.0, ranks=False)
        self.turn_to("slow", 0.0)
        end = time.monotonic() + _END_S
        while time.monotonic() < end:
            self.turn()
            if progress(self.layout)[1] >= TRIALS and not self._ours():
                break
            time.sleep(_LOOK_S)
        with suppress(subprocess.TimeoutExpired):
            self._await_submit(60)
        return len(self._ours()) == 0

    def turn(self) -> None:
        """Do what an hour of patience does: mend, release, submit again."""
        now = time.monotonic()
        self.mend(now)
        if now - self._looked > _QUEUE_S:
            self._looked = now
            self._look()
            self._resume_nodes()
        self._submit_again(now)

    def breaks(self, what: str, seconds: float, mend: Callable[[], None]) -> None:
        """Have something mended after so many seconds."""
        self._broken.append((time.monotonic() + seconds, what, mend))

    def mend(self, now: float | None = None, what: str = "") -> None:
        """Mend what is due (no time: everything), or what is called so."""
        due = [b for b in self._broken if (now is None or b[0] <= now) and b[1].startswith(what)]
        for entry in due:
            if entry in self._broken:  # one mending may do another
                self._broken.remove(entry)
                self.tell(f"    {entry[1]} is mended")
                entry[2]()

    def restart(self) -> None:
        """Start every daemon that does not run."""
        self.mend(what="node ")  # or one would wait for a node that we hold down
        with suppress(DaemonError):  # busy, and asked again with the next
            self.cluster.up()

    def tell(self, what: str) -> None:
        """Add a line to the story; it is in a file at once, for whoever watches."""
        line = f"{self.seconds:6.1f} s  {what}"
        self.story.append(line)
        with (self.lab.folder / "story.txt").open("a") as file:
            print(line, file=file)

    # Whom there is to strike.

    def tasks(self) -> list[Task]:
        """Return the tasks of the study that run by SLURM's word."""
        self.mend(what="slurmctld")
        self._look()
        if not self._tasks:
            raise Missed("nothing runs")
        return self._tasks

    def ranks(self, several: bool | None = None) -> list[Rank]:
        """Return our processes: of trials of one rank, of several, or all."""
        found = [rank for rank in self._ours() if several in (None, rank.ranks > 1)]
        if not found:
            raise Missed("no such process")
        return found

    def steps(self) -> list[int]:
        """Return the pids of slurmstepd that look after our processes."""
        jobs = {rank.job for rank in self._ours()}
        found = []
        for pid, command, _ in self._inside():
            step = re.match(r"slurmstepd: \[(\d+)\.", command)
            if step and int(step[1]) in jobs:
                found.append(pid)
        if not found:
            raise Missed("no step")
        return sorted(found)

    def jobs(self) -> set[int]:
        """Return the numbers of the jobs of the study that run by SLURM's word."""
        self.mend(what="slurmctld")
        self._look()
        return {task.job for task in self._tasks}

    def is_idle(self) -> bool:
        """Whether nothing of the study is in the queue."""
        self._look()
        return not self._tasks and not self._waiting

    def start_submit(self) -> subprocess.Popen[str]:
        """Start what the user starts again and again."""
        self._await_submit(60)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "orchestrator.cli", "submit", str(self.sweep)],
            cwd=self.lab.folder,
            env=self.lab.environment | self.variables,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def _await_points(self, count: int) -> None:
        wanted = progress(self.layout)[0] + count
        end = time.monotonic() + _NEVER_S
        while count and (progress(self.layout)[0] < wanted or not self._ours()):
            assert time.monotonic() < end, "nothing to strike at:\n" + "\n".join(self.story[-20:])
            self.turn()
            time.sleep(_LOOK_S)

    def _submit_again(self, now: float) -> None:
        if self._submitting is not None:
            if self._submitting.poll() is None:
                return
            self._await_submit(0)
        idle = not self._tasks and not self._waiting
        if now - self._submitted > (2.0 if idle else _SUBMIT_S):
            self._submitting = self.start_submit()
            self._submitted = now

    def _await_submit(self, seconds: float) -> None:
        process, self._submitting = self._submitting, None
        if process is None:
            return
        _, err = process.communicate(timeout=seconds or None)
        if process.returncode:
            self.said.append(err.strip())
            self.tell(f"    submit answers {process.returncode}: {err.strip()[-300:]}")
        else:
            self.submit_s = min(10.0, time.monotonic() - self._submitted)

    def _look(self) -> None:
        """See what is in the queue; what waits for its time after a requeue may start."""
        said = self.cluster.ask("squeue", "-h", "-r", "-o", "%j|%T|%r|%F_%K|%A|%N")
        ours = [line.split("|") for line in said.splitlines() if line.startswith(f"{STUDY}-")]
        self._tasks = [Task(w[3], int(w[4]), w[5]) for w in ours if w[1] == "RUNNING"]
        self._waiting = len(ours) - len(self._tasks)
        for words in ours:
            if words[2] == "BeginTime":  # two minutes, in which nothing would happen
                self.cluster.ask("scontrol", "update", f"jobid={words[3]}", "StartTime=now")

    def _resume_nodes(self) -> None:
        """Do what an administrator does: take nodes back that SLURM has drained or given up."""
        if any(what.startswith("node ") for _, what, _ in self._broken):
            return
        for node, state in self.cluster.nodes().items():
            if state.startswith(("drain", "down", "fail")):
                self.tell(f"    {node} is {state}: resumed")
                update = ("scontrol", "update", f"nodename={node}")
                self.cluster.ask(*update, "state=resume")

    def _ours(self) -> list[Rank]:
        found = []
        for pid, command, variables in self._inside():
            said = dict(p.split("=", 1) for p in variables.decode().split("\0") if "=" in p)
            if "slurm.node" in command and "python" in command.split()[0]:
                ranks = int(said.get("SLURM_STEP_NUM_TASKS", 1))
                found.append(Rank(pid, int(said["SLURM_JOB_ID"]), ranks))
        return sorted(found, key=lambda rank: rank.pid)

    def _inside(self) -> Iterator[tuple[int, str, bytes]]:
        return processes_with("SLURM_CONF", str(self.cluster.paths.slurm_conf))


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def await_gone(pid: int) -> None:
    wait_for(lambda: gone(pid))
