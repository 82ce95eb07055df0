"""A study under fire ends as one that nobody touched: the same curves, every trial once."""

import json
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from processes import pids, start

from jobs.contract import events
from jobs.contract.layout import Layout
from tracking.outcomes import read_outcomes

SEED = 20
LONG = int(os.environ.get("SURVIVAL_LONG", "1"))  # `make chaos` has twice the faults and trials
KILLS, TERMS = 10 * LONG, 5 * LONG
POINTS_BETWEEN = 6  # at most, and a few more before the signal arrives: of 252 in the study
SWEEP = f"""\
study: fire
workloads:
  - name: rich
    dataset: digits
    model: {{convnet: {{dropout: 0.2}}}}
    epochs: 4
    global_batch: 64
    augment: [crop]
    schedule: {{cosine: {{warmup: 0.1}}}}
    precision: bf16
    ema: 0.95
  - name: plain
    dataset: digits
    model: {{mlp: {{dropout: 0.3}}}}
    epochs: 24
    global_batch: 64
candidates:
  thermolion: {{}}
  adamw: {{lr: 1e-3}}
  lion: {{lr: 3.3e-4}}
seeds: {3 * LONG}
baseline: adamw
checkpoint: {{every: 0.2s}}
"""
TRIALS = 18 * LONG


@dataclass
class _Fire:
    """What is done to a study; the choices are drawn by a seed, the moments are the machine's."""

    layout: Layout
    sweep: Path
    python: str
    draw: random.Random = field(default_factory=lambda: random.Random(SEED))
    faults: Counter[str] = field(default_factory=Counter)

    def submit(self) -> None:
        with start("submit", self.sweep, root=self.layout.root, python=self.python) as sender:
            sender.communicate()

    def strike(self, what: str) -> None:
        """Do one thing to a study that is alive, at a moment in the training of some trial."""
        module = "backends.pool" if what == "kill -9 of the pool" else "jobs.lane"
        targets = self._await_moment(module)
        number = signal.SIGTERM if what == "SIGTERM" else signal.SIGKILL
        for target in targets if what == "kill -9 of the pool" else [self.draw.choice(targets)]:
            try:
                os.kill(target, number)
            except ProcessLookupError:
                return  # it has ended by itself: no fault
        self.faults[what] += 1

    def _await_moment(self, module: str) -> list[int]:
        """Return whom to strike, once some more points are logged and a fraction of the next.

        Points, not seconds: on a machine of any speed the study outlasts all the faults.
        """
        wanted = len(self._points()) + self.draw.randint(0, POINTS_BETWEEN)
        deadline = time.monotonic() + 120
        while True:
            targets = pids(self.layout, module)
            if targets and len(self._points()) >= wanted:
                break
            assert time.monotonic() < deadline, "nothing to strike at"
            if not targets:
                self.submit()
            time.sleep(0.02)
        time.sleep(self.draw.uniform(0, 0.1))
        return targets

    def _points(self) -> list[bytes]:
        logs = (log.read_bytes() for log in self.layout.events.glob("*"))
        return [line for log in logs for line in log.splitlines() if b'"evaluated"' in line]

    def tear_a_checkpoint(self) -> None:
        for kept in sorted(self.layout.checkpoints.glob("*.pt")):
            kept.write_bytes(kept.read_bytes()[: kept.stat().st_size // 2])
            self.faults["checkpoint torn in half"] += 1
            return

    def fill_the_disk(self) -> None:
        """Leave no byte free until every lane has ended."""
        while not pids(self.layout):
            self.submit()
        filler = self.layout.root / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(2**20)):
                    pass
            except OSError:
                self.faults["full disk"] += 1
        deadline = time.monotonic() + 60
        while pids(self.layout) and time.monotonic() < deadline:
            time.sleep(0.1)
        filler.unlink()


def _ends(layout):
    found = Counter()
    for log in layout.events.glob("*"):
        found += Counter(e.trial for e in events.read_events(log) if e.type == events.COMPLETED)
    return found


def _results(layout):
    return {
        trial: (
            outcome.state,
            outcome.weights,
            outcome.metrics,
            [(point.step, point.epoch, point.metrics) for point in outcome.curve],
            outcome.nondeterministic,
        )
        for trial, outcome in read_outcomes(layout.events).items()
    }


def test_a_study_whose_processes_are_killed_loses_no_trial_and_runs_none_twice(
    thermolion, warm, tmp_path, small_disk, record_property
):
    sweep = tmp_path / "fire.yaml"
    sweep.write_text(SWEEP)
    calm = Layout(tmp_path / "calm", "fire")
    run = thermolion("run", sweep, "--root", calm.root)
    assert run.code == 0, run.err

    fire = _Fire(Layout(small_disk, "fire"), sweep, warm)
    plan = ["kill -9 of a lane"] * (KILLS - 3) + ["kill -9 of the pool"] * 3 + ["SIGTERM"] * TERMS
    fire.draw.shuffle(plan)
    fire.fill_the_disk()
    for what in plan:
        wanted = fire.faults[what] + 1
        while fire.faults[what] < wanted and len(_ends(fire.layout)) < TRIALS - 2:
            fire.strike(what)
        if not fire.faults["checkpoint torn in half"]:
            fire.tear_a_checkpoint()
    for _ in range(3):  # a lane that was just told to stop may still be alive the first time
        end = thermolion("run", sweep, "--root", fire.layout.root)
        if end.code == 0:
            break
    assert end.code == 0, end.err

    expected, found = _results(calm), _results(fire.layout)
    lost = [trial for trial in expected if found.get(trial) != expected[trial]]
    told = ", ".join(f"{count} {what}" for what, count in sorted(fire.faults.items()))
    told = f"faults: {told}; results lost or changed: {len(lost)} of {len(expected)}"
    record_property("tells", told)
    assert not lost
    assert len(found) == TRIALS
    assert _ends(fire.layout) == Counter(dict.fromkeys(expected, 1))
    assert not list(fire.layout.checkpoints.glob("*"))
    again = json.loads(thermolion("collect", sweep, "--root", fire.layout.root, "--json").out)
    assert (again["new"], again["updated"], again["unchanged"]) == (0, 0, TRIALS)
    assert sum(fire.faults.values()) >= KILLS + TERMS
