"""A thousand trials from logs into MLflow, by the benchmark of ten thousand."""

import json
import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[4]
TRIALS = 1_000


def test_a_thousand_trials_arrive_once_in_flat_memory_and_cost_nothing_again() -> None:
    command = [
        "-m",
        "benchmarks.collect_scale",
        "--trials",
        str(TRIALS),
        "--rounds",
        "0",
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=REPO,
        env={name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["scale"].values()
    assert (first["new"], first["updated"], first["unchanged"]) == (TRIALS, 0, 0)
    assert (second["new"], second["updated"], second["unchanged"]) == (0, 0, TRIALS)
    assert max(first["peak_mb"], second["peak_mb"]) < 500
    tenth, _, whole = first["mb_at"].values()
    assert whole - tenth < 50
