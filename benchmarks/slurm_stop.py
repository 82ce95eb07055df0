"""How soon a node is free for a preempting job: ours and plain submitit, if the site sends TERM.

Both train the same trial on the same cluster, without a grace time (KillWait 10 s), one after the
other; what counts is the time from the sbatch of the preempting job to its first line.

    python -m benchmarks.slurm_stop [--rounds 3]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.contract.layout import Layout
from jobs.contract.trial import Trial
from orchestrator.study.study import open_study
from slurm.devcluster.cluster import Cluster, make_cluster
from slurm.devcluster.config import Shape
from tracking.outcomes import read_outcomes

BAR_S = 3.0  # and one step and one checkpoint, which take milliseconds here
SWEEP = """\
study: stop
workloads: [{dataset: digits, model: {mlp: {hidden: [64]}}, epochs: 20000, global_batch: 64}]
candidates: {adamw: {lr: 1e-3}}
seeds: 1
backend: slurm
"""


def train(record: dict[str, Any], folder: str) -> None:
    """Train a trial in this process, as a user's function would."""
    from jobs.contract.pack import Pack
    from jobs.lane import run_pack
    from jobs.ranks.launch import Launch

    trial = Trial.from_json(record)
    run_pack(Pack(Layout(Path(folder), f"plain{os.getpid()}"), "0001", 0, (trial,)), Launch())


def _await(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("it did not happen within 120 s")
        time.sleep(0.05)


def _is_training(root: Path, study: str) -> bool:
    folders = [path / "events" for path in root.glob(f"{study}*")]
    outcomes = [o for folder in folders for o in read_outcomes(folder).values()]
    return any(outcome.state == "running" and outcome.curve for outcome in outcomes)


def preempted_s(cluster: Cluster, folder: Path) -> float:
    """Send a job that preempts all others; return the seconds until it begins."""
    mark = folder / "urgent"
    mark.unlink(missing_ok=True)
    begin = time.time()
    cluster.ask(
        *("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null"),
        f"--wrap=date +%s.%N > {mark}.new && mv {mark}.new {mark}",
    )
    _await(mark.exists)
    return float(mark.read_text()) - begin


def ours(cluster: Cluster, folder: Path) -> float:
    root = folder / "studies"
    sweep = folder / "stop.yaml"
    sweep.write_text(SWEEP)
    environment = os.environ | {"THERMOLION_ROOT": str(root)}
    command = [sys.executable, "-P", "-m", "orchestrator.cli.main", "submit", str(sweep)]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return _measured(cluster, folder, root, "stop")


def submitit(cluster: Cluster, folder: Path) -> float:
    import submitit as library

    sweep = folder / "stop.yaml"
    sweep.write_text(SWEEP)
    (trial,) = open_study(str(sweep), folder / "plan").trials
    executor = library.AutoExecutor(folder=folder / "submitit", cluster="slurm")
    executor.update_parameters(timeout_min=30, cpus_per_task=1, slurm_partition="main")
    executor.submit(train, json.loads(json.dumps(trial.to_json())), str(folder / "plain"))
    return _measured(cluster, folder, folder / "plain", "plain")


def _measured(cluster: Cluster, folder: Path, root: Path, study: str) -> float:
    _await(lambda: _is_training(root, study))
    seconds = preempted_s(cluster, folder)
    cluster.ask("scancel", "--user", str(os.geteuid()))
    _await(lambda: not cluster.ask("squeue", "-h"))
    for old in (root, folder / "submitit"):
        shutil.rmtree(old, ignore_errors=True)
    return seconds


def main() -> None:
    """Print a table, and whether the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    folder = Path(tempfile.mkdtemp(prefix="tl-", dir="/tmp"))
    cluster = make_cluster(folder / "c", Shape(nodes=1, gpus=0, grace_s=0))
    ways: dict[str, Callable[[Cluster, Path], float]] = {
        "thermolion": ours,
        "plain submitit": submitit,
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    try:
        cluster.up()
        os.environ |= cluster.environment
        for _ in range(rounds):
            for name, way in ways.items():
                taken[name].append(way(cluster, folder))
    finally:
        cluster.down()
        shutil.rmtree(folder)
    print("| way | node free for the other job after, s (median) | all |")
    print("| --- | --- | --- |")
    for name, seconds in taken.items():
        listed = ", ".join(f"{one:.1f}" for one in seconds)
        print(f"| {name} | {statistics.median(seconds):.1f} | {listed} |")
    met = statistics.median(taken["thermolion"]) < BAR_S
    print(f"bar {BAR_S} s: {'met' if met else 'MISSED'}")


if __name__ == "__main__":
    main()
