"""Lanes of several ranks, each a process of its own; and, run as a script, one of them.

As a script it takes its rank, the number of ranks, and the attempts to make one after another:
each a pack, the file to meet by, and fields of a launch.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from jobs.layout import Layout
from jobs.pack import Pack
from jobs.process import LANE_ENVIRONMENT
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
        written = json.dumps([self._attempt(**attempt) for attempt in attempts])
        command = [sys.executable, __file__, "RANK", size, written]
        return [
            subprocess.Popen(
                [str(rank) if word == "RANK" else str(word) for word in command],
                env=os.environ | LANE_ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
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
        """Make attempts one after another in the same processes; return the last exit codes.

        Starting a process takes longer than a small trial.
        """
        return [code for code, _ in ended(self._start(attempts))]

    def run(self, **fields):
        """Run all ranks to their end; return their exit codes."""
        return [code for code, _ in ended(self.start(**fields))]

    def outcomes(self):
        found = read_outcomes(self.layout.events)
        return [found[trial.id] for trial in self.trials]


def ended(processes):
    """Wait for the end of processes; return exit code and output of each."""
    said = []
    end = time.monotonic() + _PATIENCE_S
    for process in processes:
        try:
            text, _ = process.communicate(timeout=max(1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            for one in processes:
                one.kill()
            raise
        said.append((process.returncode, text))
    return said


def main():
    import logging

    logging.basicConfig(level=logging.INFO)
    rank, size, attempts = sys.argv[1:]
    codes = [attempt(int(rank), int(size), *given) for given in json.loads(attempts)]
    sys.exit(codes[-1])


def attempt(rank, size, path, meeting, fields):
    """Make an attempt as one of the ranks; return the exit code of its lane."""
    import signal

    from jobs.lane import run_pack
    from jobs.launch import Launch, Rendezvous

    times = {key: fields.pop(key) for key in ("timeout_s", "silence_s") if key in fields}
    launch = Launch(
        rank=rank,
        world_size=size,
        rendezvous=Rendezvous(Path(meeting), **times) if size > 1 else None,
        **fields,
    )
    launch.stop.listen(signal.SIGTERM)
    return run_pack(Pack.from_json(json.loads(Path(path).read_text())), launch)


if __name__ == "__main__":
    main()
