"""Short trials on SLURM: ours, submitit with one trial a task, submitit in chunks, the ideal.

All four train the same trials on the same nodes, of as many CPUs as this machine has cores, one
after the other; the ideal is a process a core without any SLURM, each with its share.

    python -m benchmarks.slurm_overhead [--trials 200] [--plain 200]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract.layout import Layout
from jobs.contract.trial import Trial
from orchestrator.study.study import open_study
from slurm.devcluster.cluster import Cluster, make_cluster
from slurm.devcluster.config import Shape
from tracking.outcomes import read_outcomes

BAR_PLAIN, BAR_IDEAL = 10.0, 1.5  # times as many trials an hour; times the ideal's seconds
TRIAL_S = 0.15
SWEEP = """\
study: overhead
workloads: [{{dataset: digits, model: {{mlp: {{hidden: [256]}}}}, epochs: 8, global_batch: 64}}]
candidates: {{adamw: {{lr: 1e-3}}, adam: {{lr: 1e-3}}}}
seeds: {seeds}
backend: slurm
pack: {{trial_takes: {trial_s}s, at_least: {pack_s}s}}
"""


@dataclass(frozen=True)
class Row:
    """One way: seconds in all and to submit, trials, calls of status commands, the results."""

    name: str
    seconds: float
    submit_s: float
    trials: int
    calls: int
    results: dict[str, Any]

    @property
    def per_hour(self) -> float:
        return 3600 * self.trials / self.seconds


def train(records: Sequence[dict[str, Any]], folder: str) -> dict[str, Any]:
    """Train trials in this process, as a user's function would; return weights by trial."""
    from jobs.contract.pack import Pack
    from jobs.lane import run_pack
    from jobs.ranks.launch import Launch

    layout = Layout(Path(folder), f"t{os.getpid()}-{time.time_ns()}")
    trials = tuple(Trial.from_json(record) for record in records)
    assert run_pack(Pack(layout, "0001", 0, trials), Launch()) == 0
    outcomes = read_outcomes(layout.events)
    shutil.rmtree(layout.folder)
    return {trial: outcome.weights for trial, outcome in outcomes.items()}


def ours(lab: "Lab", trials: Sequence[Trial]) -> Row:
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-P", "-m", "orchestrator.cli.main", "submit", str(lab.sweep)],
        env=lab.environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    submit_s = time.perf_counter() - begin
    status = [sys.executable, "-P", "-m", "orchestrator.cli.main", "logs", "overhead", "--follow"]
    subprocess.run(status, env=lab.environment, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    outcomes = read_outcomes(Layout(lab.folder / "studies", "overhead").events)
    weights = {trial: outcome.weights for trial, outcome in outcomes.items()}
    return Row("thermolion", seconds, submit_s, len(trials), lab.calls(), weights)


def submitit(lab: "Lab", trials: Sequence[Trial], size: int, name: str) -> Row:
    import submitit as library

    folder = lab.folder / name.replace(" ", "-")
    executor = library.AutoExecutor(folder=folder, cluster="slurm")
    executor.update_parameters(timeout_min=30, cpus_per_task=1, slurm_partition="main")
    parts = [trials[start : start + size] for start in range(0, len(trials), size)]
    records = [[trial.to_json() for trial in part] for part in parts]
    begin = time.perf_counter()
    jobs = executor.map_array(train, records, [str(lab.folder)] * len(records))
    submit_s = time.perf_counter() - begin
    # Its own waiting asks sacct every ten minutes; the files that results arrive in are quicker.
    while not all(job.paths.result_pickle.exists() for job in jobs):
        time.sleep(0.2)
    seconds = time.perf_counter() - begin
    weights = {trial: weight for job in jobs for trial, weight in job.result().items()}
    return Row(name, seconds, submit_s, len(trials), lab.calls(), weights)


def ideal(lab: "Lab", trials: Sequence[Trial], cores: int) -> Row:
    code = (
        "import json, sys; from benchmarks.slurm_overhead import train\n"
        "print(json.dumps(train(json.load(open(sys.argv[1])), sys.argv[2])))"
    )
    begin = time.perf_counter()
    processes = []
    for core in range(cores):
        share = lab.folder / f"share{core}.json"
        share.write_text(json.dumps([trial.to_json() for trial in trials[core::cores]]))
        command = [sys.executable, "-c", code, str(share), str(lab.folder)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    weights: dict[str, Any] = {}
    for process in processes:
        weights |= json.loads(process.communicate()[0])
    return Row("ideal", time.perf_counter() - begin, 0.0, len(trials), 0, weights)


@dataclass(frozen=True)
class Lab:
    """A cluster and a folder, with every call of a status command counted."""

    cluster: Cluster
    folder: Path

    @property
    def sweep(self) -> Path:
        return self.folder / "overhead.yaml"

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"THERMOLION_ROOT": str(self.folder / "studies")}

    def count_calls(self) -> None:
        """Put counted commands of SLURM before the real ones on this process's PATH."""
        bin_ = self.folder / "bin"
        bin_.mkdir()
        for name in ("squeue", "sacct", "scontrol", "sinfo", "sacctmgr"):
            real = shutil.which(name)
            (bin_ / name).write_text(f'#!/bin/bash\necho >> {bin_}/calls\nexec {real} "$@"\n')
            (bin_ / name).chmod(0o755)
        os.environ["PATH"] = f"{bin_}:{os.environ['PATH']}"

    def calls(self) -> int:
        """Return how many calls there were since the last look."""
        counted = self.folder / "bin" / "calls"
        count = len(counted.read_text().splitlines()) if counted.exists() else 0
        counted.unlink(missing_ok=True)
        return count


def main() -> None:
    """Print a table, and whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--plain", type=int, help="trials of the slow peer (as many)")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    folder = Path(tempfile.mkdtemp(prefix="tl-", dir="/tmp"))
    cluster = make_cluster(folder / "c", Shape(nodes=1, cpus=cores, gpus=0))
    try:
        cluster.up()
        os.environ |= cluster.environment
        lab = Lab(cluster, folder)
        pack = -(-options.trials // cores)
        lab.sweep.write_text(
            SWEEP.format(seeds=options.trials // 2, trial_s=TRIAL_S, pack_s=TRIAL_S * pack)
        )
        trials = open_study(str(lab.sweep), folder).trials
        lab.count_calls()
        few = trials[: options.plain or options.trials]
        ways: list[Callable[[], Row]] = [
            lambda: ideal(lab, trials, cores),
            lambda: ours(lab, trials),
            lambda: submitit(lab, trials, pack, "submitit in chunks"),
            lambda: submitit(lab, few, 1, "submitit, a trial a task"),
        ]
        rows = [way() for way in ways]
    finally:
        cluster.down()
        shutil.rmtree(folder)
    best, us, _, plain = rows
    print("| way | trials | seconds | s a trial | trials/h | to submit, s | status calls |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        each = row.seconds / row.trials
        print(
            f"| {row.name} | {row.trials} | {row.seconds:.1f} | {each:.2f} | {row.per_hour:,.0f} "
            f"| {row.submit_s:.1f} | {row.calls} |"
        )
    equal = all(us.results[trial] == row.results[trial] for row in rows for trial in row.results)
    faster, slower = us.per_hour / plain.per_hour, us.seconds / best.seconds
    print(f"results equal: {equal}")
    print(
        f"trials an hour / one a task: {faster:.1f} (bar {BAR_PLAIN}: {_met(faster >= BAR_PLAIN)})"
    )
    print(f"seconds / ideal: {slower:.2f} (bar {BAR_IDEAL}: {_met(slower <= BAR_IDEAL)})")


def _met(met: bool) -> str:
    return "met" if met else "MISSED"


if __name__ == "__main__":
    main()
