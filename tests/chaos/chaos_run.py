"""A study on a real cluster to which faults are done, one after another, while its user submits.

Knows no fault: those are in `faults`, which take a chaos run and one entry of the schedule.
"""

import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cap import Cap
from schedule import Planned
from slurm_lab import COMMAND, Lab
from subject import STUDY, SWEEP, TRIALS, read_progress, split_by_ranks
from targets import Missed, Targets, Task

from jobs.contract.layout import Layout
from slurm.devcluster.cluster import Cluster
from slurm.devcluster.daemons import DaemonError

_SEAM = Path(__file__).parent / "unsteady"
_LOOK_S = 0.2
_QUEUE_S = 1.0  # between two looks at the queue
_SUBMIT_S = 6.0  # between two calls of `submit`, unless nothing is in the queue any more
_SLOW = ("slow", "slow.ranks")  # what one line of a log takes, of trials of one rank, of several
_SLOW_S, _MOST_SLOW_S = 0.6, 6.0  # for every trial that they are ahead, and in all
_RANKS_SLOW_S = 0.3  # at least, as long as faults need them
_LAST = 3  # trials of a sort for the last faults
_NEVER_S = 400.0  # something to hit turns up earlier, or the run is stuck
_PATIENCE_S = 180.0  # for a command: it waits for locks, and for a controller
_PRINTED = 4  # outputs of jobs that are shown if it does not end
_END_S = 600.0  # for what is left once all is quiet

_AT_CAP = "held at the cap"  # what `submit` says then

Fault = Callable[["ChaosRun", Planned], None]


@dataclass
class ChaosRun:
    """The study, who submits it, and what is broken at the moment.

    `faults` counts those that have hit, `missed` those that found nobody; `said` is what `submit`
    and `collect` printed if they did not answer 0, `lines` what was done, in order. `submit_s` is
    what the last whole `submit` took, and at first a guess. `injected` is the part of the faults
    that has hit; `needs_ranks`: some of the others are for trials of several ranks. `cap` is that
    of the study, None without one.
    """

    lab: Lab
    submit_s: float
    cap: Cap | None = None
    faults: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    injected: float = 0.0
    needs_ranks: bool = True
    began: float = field(default_factory=time.monotonic)
    _broken: list[tuple[float, str, Callable[[], None]]] = field(default_factory=list)
    _submitting: subprocess.Popen[str] | None = None
    _collecting: subprocess.Popen[str] | None = None
    _submitted: float = 0.0
    _is_left_alone: bool = False
    _looked: float = 0.0

    def __post_init__(self) -> None:
        self.sweep = self.lab.write(SWEEP, f"{STUDY}.yaml")
        if self.cap is not None:
            self.cap.write_sweep()
        self.targets = Targets(self.lab.cluster)
        self.seam.mkdir()
        self._trials = split_by_ranks(self.sweep, self.layout.root)

    @property
    def cluster(self) -> Cluster:
        return self.lab.cluster

    @property
    def layout(self) -> Layout:
        return self.lab.layout(STUDY)

    @property
    def seam(self) -> Path:
        """The folder that says by how much clocks and files are off."""
        return self.lab.folder / "seam"

    @property
    def variables(self) -> dict[str, str]:
        """The variables that have the processes of the study read the seam."""
        seam = {"CHAOS": str(self.seam), "CHAOS_STUDY": str(self.layout.folder)}
        path = f"{self.replaced_commands}:{os.environ['PATH']}"
        return seam | {"PYTHONPATH": str(_SEAM), "PATH": path}

    @property
    def seconds(self) -> float:
        """The seconds that it has lasted by now."""
        return time.monotonic() - self.began

    @property
    def replaced_commands(self) -> Path:
        """The folder of commands that are found before SLURM's own."""
        return self.lab.folder / "bin"

    def disturb(self, name: str, value: float) -> None:
        """Say by how much something is off; readers see all of the number or none of it."""
        draft = self.seam / f".{name}"
        draft.write_text(f"{value:.3f}")
        draft.replace(self.seam / name)

    def log(self, what: str) -> None:
        """Log a line, into a file as well, for whoever watches."""
        line = f"{self.seconds:6.1f} s  {what}"
        self.lines.append(line)
        with (self.lab.folder / "log.txt").open("a") as file:
            print(line, file=file)

    # The faults.

    def inject(self, planned: Planned, fault: Fault) -> bool:
        """Inject one fault at its moment; return True if it has hit."""
        self._await_points(planned.points)
        try:
            fault(self, planned)
        except Missed as why:
            self.missed[planned.kind] += 1
            self.log(f"    {planned.kind}: {why}")
            return False
        self.faults[planned.kind] += 1
        self.log(planned.kind)
        return True

    def has_ended(self) -> bool:
        """Return True if every trial is complete."""
        return len(read_progress(self.layout)[1]) >= TRIALS

    def tasks(self) -> list[Task]:
        """Return the tasks of the study that run by SLURM's word; raises Missed for none."""
        self.look()
        if not self.targets.running:
            raise Missed("nothing runs")
        return self.targets.running

    def look(self) -> None:
        """Look at the queue now, by a controller that is there."""
        self.repair(what="slurmctld")
        self.targets.look()

    def _slow_down(self, ended: frozenset[str]) -> None:
        """Slow down the trials that are ahead of the faults, the more the further they are.

        So the faults hit a study that still runs, on a machine of any speed, and every kind finds
        something to hit.
        """
        floors = (0.0, _RANKS_SLOW_S if self.needs_ranks else 0.0)
        for name, trials, floor in zip(_SLOW, self._trials, floors, strict=True):
            ahead = len(ended & trials) - self.injected * (len(trials) - _LAST)
            self.disturb(name, min(_MOST_SLOW_S, max(floor, _SLOW_S * ahead)))

    # What is broken, and repaired.

    def break_until(self, what: str, seconds: float, repair: Callable[[], None]) -> None:
        """Have something that is broken repaired after so many seconds."""
        self._broken.append((time.monotonic() + seconds, what, repair))

    def is_broken(self, what: str) -> bool:
        """Return True if something whose name begins so waits to be repaired."""
        return any(name.startswith(what) for _, name, _ in self._broken)

    def repair(self, now: float | None = None, what: str = "") -> None:
        """Repair what is due (no time: everything), or what is called so."""
        due = [b for b in self._broken if (now is None or b[0] <= now) and b[1].startswith(what)]
        for entry in due:
            if entry in self._broken:  # one repair may do another
                self._broken.remove(entry)
                begin = time.monotonic()
                entry[2]()
                self.log(f"    {entry[1]} is repaired, in {time.monotonic() - begin:.1f} s")

    def restart(self) -> None:
        """Start every daemon that does not run."""
        self.repair(what="node ")  # or one would wait for a node that we hold down
        if self.cluster.daemons.lives("slurmctld"):
            self._resume_nodes()  # as little is ready that SLURM itself has drained
        with suppress(DaemonError):  # busy, and asked again with the next
            self.cluster.up()

    def _resume_nodes(self) -> None:
        """Do what an administrator does: take nodes back that SLURM has drained or given up."""
        if self.is_broken("node "):
            return
        for node, state in self.cluster.nodes().items():
            if state.startswith(("drain", "down", "fail")):
                self.log(f"    {node} is {state}: resumed")
                update = ("scontrol", "update", f"nodename={node}")
                self.cluster.ask(*update, "state=resume")

    # What goes on beside the faults.

    def settle(self) -> bool:
        """Repair everything and submit until all has ended; return True if nothing goes on."""
        self.repair()
        self.injected, self.needs_ranks = math.inf, False  # nothing waits for a fault any more
        ended = self.wait(self._is_quiet, _END_S)
        self.end_submit()
        self._end_collect()
        return ended

    def _is_quiet(self) -> bool:
        is_over = self.has_ended() and not self.targets.all_ranks()
        return is_over and self.targets.queue_is_empty and not self.targets.helpers

    def describe_leftovers(self) -> str:
        """Describe what is left if the study has not ended: jobs, nodes, processes."""
        asked = ("squeue -r -o %i|%j|%T|%r|%N|%S", "sinfo -N -o %N|%P|%T|%E", "scontrol show job")
        said = [self.cluster.ask(*command.split()) for command in asked]
        printed = self.layout.folder.glob("submissions/*/output/*")
        latest = sorted(printed, key=lambda path: path.stat().st_mtime)[-_PRINTED:]
        said += [f"{path.name}: {path.read_text(errors='replace')[-500:]}" for path in latest]
        return "\n".join([*said, *map(str, self.targets.all_ranks())])

    def wait(
        self, condition: Callable[[], bool], seconds: float = 60, submits: bool = True
    ) -> bool:
        """Wait for something while all else goes on; return True if it came true in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            self.advance(submits)
            time.sleep(_LOOK_S)
        return True

    def advance(self, submits: bool = True) -> None:
        """Do what is due: repair, look at the queue, submit again."""
        now = time.monotonic()
        self.repair(now)
        if now - self._looked > _QUEUE_S and not self.is_broken("slurmctld"):
            self._looked = now
            self.targets.look()
            self._resume_nodes()
            self._slow_down(read_progress(self.layout)[1])
            if self.cap is not None and not self.is_broken("accounting"):
                self.cap.look()
        if submits:
            self._submit_again(now)

    def start_submit(self) -> subprocess.Popen[str]:
        """Start `submit`, as the user does again and again."""
        self.end_submit()
        return self._start("submit")

    def collect(self) -> None:
        """Start to collect what there is by now."""
        self._collecting = self._start("collect")

    def end_submit(self) -> None:
        """Wait for the last `submit`."""
        self._end_submit(_PATIENCE_S)

    def _end_collect(self) -> None:
        process, self._collecting = self._collecting, None
        if process is not None:
            self._await_command(process, "collect", _PATIENCE_S)

    def _start(self, verb: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.lab.python or sys.executable, *COMMAND, verb, str(self.sweep)],
            cwd=self.lab.folder,
            env=self.lab.environment | self.variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def _await_points(self, count: int) -> None:
        wanted = read_progress(self.layout)[0] + count

        def arrived() -> bool:
            points, ends = read_progress(self.layout)
            return len(ends) >= TRIALS or (points >= wanted and bool(self.targets.all_ranks()))

        if count:
            injected = self.wait(arrived, _NEVER_S)
            assert injected, "nothing to hit:\n" + "\n".join(self.lines[-20:])

    def _submit_again(self, now: float) -> None:
        if self._submitting is not None:
            if self._submitting.poll() is None:
                return
            self._end_submit(0)
        if now - self._submitted > (2.0 if self.targets.queue_is_empty else _SUBMIT_S):
            self._submitting = self._start("retry" if self._is_left_alone else "submit")
            self._submitted = now

    def _end_submit(self, seconds: float) -> None:
        process, self._submitting = self._submitting, None
        if process is not None and self._await_command(process, "submit", seconds):
            self.submit_s = min(10.0, time.monotonic() - self._submitted)

    def _await_command(self, process: subprocess.Popen[str], verb: str, seconds: float) -> bool:
        """Wait for a command; return True if it answers 0, else keep what it says."""
        out, err = process.communicate(timeout=seconds or None)
        if verb == "submit":  # what was held, or has no retry left, goes if its user says so
            self._is_left_alone = "left alone" in out + err
            self._look_at_cap(out)
        if process.returncode and not out.startswith(_AT_CAP):
            self.said.append(f"{verb}: {err.strip()}")
            self.log(f"    {verb} answers {process.returncode}: {err.strip()[-300:]}")
        return process.returncode == 0

    def _look_at_cap(self, said: str) -> None:
        """Raise the cap if the study is held at it, and nothing that may end makes room."""
        idle = self.targets.queue_is_empty and not self.targets.helpers
        if self.cap is not None and said.startswith(_AT_CAP) and idle:
            self.cap.give_more()
            self.log(f"    {self.cap}")
