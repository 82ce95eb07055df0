"""Lanes of several ranks, each a process of its own."""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

from forks import fork

from jobs.contract.layout import Layout
from jobs.contract.pack import LANE_ENVIRONMENT, Pack
from tracking.outcomes import read_outcomes

_PATIENCE_S = 240


class Study:
    """A study in a folder; each start is another attempt at its trials."""

    def __init__(self, folder, *trials, **pack):
        self.layout = Layout(folder, "study")
        self.layout.folder.mkdir(parents=True, exist_ok=True)
        self.trials, self.pack = trials, pack
        self.runs = 0

    def start(self, ranks=None, trials=None, **fields):
        """Start all ranks of all trials, or those in `ranks` and `trials` alone."""
        return self._start([{"trials": trials, **fields}], ranks)

    def _start(self, attempts, ranks=None):
        size = self.trials[0].world_size
        made = [self._attempt(**attempt) for attempt in attempts]
        return [
            Rank(rank, size, made, self.layout.folder / f"{self.runs}-{rank}.out")
            for rank in (range(size) if ranks is None else ranks)
        ]

    def _attempt(self, trials=None, **fields):
        self.runs += 1
        chosen = self.trials if trials is None else trials
        pack = Pack(self.layout, f"{self.runs:04d}", 0, tuple(chosen), **self.pack)
        path = self.layout.folder / f"{self.runs}.json"
        path.write_text(json.dumps(pack.to_json()))
        return str(path), str(path.with_suffix(".meet")), fields

    def run_in_turn(self, *attempts):
        """Make attempts one after another in the same processes; return the last exit codes."""
        return [code for code, _ in ended(self._start(attempts))]

    def run(self, **fields):
        """Run all ranks to their end; return their exit codes."""
        return [code for code, _ in ended(self.start(**fields))]

    def outcomes(self):
        found = read_outcomes(self.layout.events)
        return [found[trial.id] for trial in self.trials]


class Rank:
    """One rank; each attempt is a pack, the file to meet by, and fields of a launch."""

    def __init__(self, rank, size, attempts, output):
        self._output = output
        environment = dict(os.environ | LANE_ENVIRONMENT)
        self._process = fork(_train, rank, size, attempts, output, environment)

    def kill(self):
        self._process.kill()

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def ended(self, end):
        """Wait for its end; return its exit code, None if it still runs, and its output."""
        self._process.join(max(1, end - time.monotonic()))
        return self._process.exitcode, self._output.read_text()


def ended(processes):
    """Wait for the end of processes; return exit code and output of each."""
    end = time.monotonic() + _PATIENCE_S
    said = [process.ended(end) for process in processes]
    late = [process for process, (code, _) in zip(processes, said, strict=True) if code is None]
    for process in late:
        process.kill()
    assert not late, said
    return said


def _train(rank, size, attempts, output, environment):
    said = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for standard in (1, 2):
        os.dup2(said, standard)
    os.environ.clear()
    os.environ.update(environment)
    logging.basicConfig(level=logging.INFO)
    sys.exit([attempt(rank, size, *given) for given in attempts][-1])


def attempt(rank, size, path, meeting, fields):
    """Make an attempt as one of the ranks; return the exit code of its lane."""
    from jobs.lane import run_pack
    from jobs.ranks.launch import Launch, Rendezvous

    times = {key: fields.pop(key) for key in ("timeout_s", "silence_s") if key in fields}
    launch = Launch(
        rank=rank,
        world_size=size,
        rendezvous=Rendezvous(Path(meeting), **times) if size > 1 else None,
        **fields,
    )
    launch.stop.listen(signal.SIGTERM)
    return run_pack(Pack.from_json(json.loads(Path(path).read_text())), launch)
