"""The time that `thermolion plan` says beside what follows, on the digits of the quickstart.

Twice: the quickstart with two seeds, then with ten; and a tuned study of two searches and seeds,
then of six, so that more is tuned and compared. Before the second part of each every kind of trial
has been measured. What follows is from the first sending to the end of the last trial.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from jobs.contract.layout import Layout
from orchestrator.backends.records import read_submissions
from tracking.outcomes import read_outcomes

QUICKSTART = Path(__file__).parents[1] / "sweeps" / "quickstart.yaml"
TUNED = """\
study: tuned
workloads: [{dataset: digits, model: convnet, epochs: 12, global_batch: 128}]
candidates: {thermolion: {}, adamw: {}}
baseline: adamw
tune: {trials: 4, widen: 0}
seeds: 2
"""
BAR = 0.3


def _call(*words: str) -> str:
    command = [sys.executable, "-P", "-m", "orchestrator.cli.main", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _measure(sweep: Path, root: Path, more: list[str]) -> tuple[dict[str, Any], float]:
    """Return what `plan` says of the second part of a study, and the seconds that it took."""
    place = ["--root", str(root)]
    _call("run", str(sweep), *place, "--set", "seeds=2")
    changes = [word for change in more for word in ("--set", change)]
    plan = json.loads(_call("plan", str(sweep), *place, *changes, "--json"))
    layout = Layout(root, plan["study"])
    before = len(read_submissions(layout))
    _call("run", str(sweep), *place, *changes)
    sent = read_submissions(layout)[before].time_ms
    ended = max(one.ended_ms or 0 for one in read_outcomes(layout.events).values())
    return plan["price"], (ended - sent) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    errors = []
    print(f"{'study':<12}{'trials':>7}{'planned':>10}{'took':>10}{'planned / took':>16}")
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            tuned = Path(folder) / "tuned.yaml"
            tuned.write_text(TUNED)
            for sweep, more in (
                (QUICKSTART, ["seeds=10"]),
                (tuned, ["seeds=6", "tune.repeats=6"]),
            ):
                price, took = _measure(sweep, Path(folder) / "studies", more)
                whole = price["in_all"]
                ratio = whole["seconds"] / took
                errors.append(abs(ratio - 1))
                seconds = f"{whole['seconds']:8.1f} s{took:8.1f} s"
                print(f"{sweep.stem:<12}{whole['trials']:>7}{seconds}{ratio:>16.2f}", flush=True)
    print(f"off by {statistics.median(errors):.0%} (median; the bar is {BAR:.0%})")


if __name__ == "__main__":
    main()
