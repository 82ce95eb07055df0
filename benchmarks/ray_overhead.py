"""Many trivial trials through our Ray backend, against a plain `Tuner` of function trainables.

Both report one number a trial and have as many CPUs. Ours starts a Ray, loads torch, snapshots the
user's code, and syncs a log; the plain one starts a Ray and does what Ray's own examples do: a
function, one CPU a trial, nothing else set. Whole processes are timed, ours before and after.

    python -m benchmarks.ray_overhead
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from jobs.contract.layout import Layout
from orchestrator.backends.pool import find_pool
from tracking.outcomes import read_outcomes

BAR = 5.0  # times faster than the plain one
SWEEP = """\
study: trivial
workloads: [{{name: trivial, train: "trivial:train", metric: fit}}]
candidates: {{one: {{optimizer: sgd, lr: 0.1}}, two: {{optimizer: sgd, lr: 0.2}}}}
baseline: one
seeds: {seeds}
"""
TRAIN = """\
def train(trial, context):
    context.log(1, fit=trial.candidate.hyperparameters["lr"])
"""


def ours(trials: int, cpus: int) -> float:
    """Send a sweep and wait for the end of its driver; return seconds."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "trivial.py").write_text(TRAIN)
        (Path(folder) / "trivial.yaml").write_text(SWEEP.format(seeds=trials // 2))
        layout = Layout(Path(folder) / "studies", "trivial")
        words = [sys.executable, "-P", "-m", "orchestrator.cli.main", "submit", "trivial.yaml"]
        words += ["--backend", "ray", "--lanes", str(cpus), "--root", str(layout.root)]
        begin = time.perf_counter()
        subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        while find_pool(layout.submission("0001")) is not None:
            time.sleep(0.05)
        seconds = time.perf_counter() - begin
        done = [o for o in read_outcomes(layout.events).values() if o.state == "completed"]
        assert len(done) == trials, f"{len(done)} of {trials} trials completed"
    return seconds


def plain(trials: int, cpus: int) -> float:
    """Run as many function trainables in a process of their own; return seconds."""
    words = [sys.executable, "-P", "-m", "benchmarks.ray_overhead", "--as-plain"]
    words += ["--trials", str(trials), "--cpus", str(cpus)]
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        variables = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "HOME": folder}
        quiet = subprocess.DEVNULL
        path = {"PYTHONPATH": str(Path(__file__).parents[1])}
        subprocess.run(words, env=os.environ | variables | path, check=True, stdout=quiet)
    return time.perf_counter() - begin


def run_plain(trials: int, cpus: int) -> None:
    """Be the plain one: what Ray's own examples do."""
    import ray
    from ray import tune

    def train(config: dict[str, float]) -> None:
        tune.report({"fit": config["lr"]})

    ray.init(num_cpus=cpus, include_dashboard=False, _node_ip_address="127.0.0.1")
    space = {"lr": tune.grid_search([n / trials for n in range(trials)])}
    results = tune.Tuner(train, param_space=space).fit()
    assert len(results) == trials
    assert not results.errors
    ray.shutdown()


def main() -> None:
    """Print a table, and whether the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--cpus", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--as-plain", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_plain:
        run_plain(options.trials, options.cpus)
        return
    load = os.getloadavg()[0]
    before = ours(options.trials, options.cpus)
    peer = plain(options.trials, options.cpus)
    after = ours(options.trials, options.cpus)
    us = median([before, after])
    print("| way | trials | seconds | s a trial |")
    print("| --- | --- | --- | --- |")
    for name, seconds in (("thermolion", us), ("plain Tuner", peer)):
        print(f"| {name} | {options.trials} | {seconds:.1f} | {seconds / options.trials:.2f} |")
    met = "met" if peer / us >= BAR else "MISSED"
    print(f"\n{peer / us:.2f} times faster (bar: {BAR}): {met}")
    print(json.dumps({"ours": [before, after], "plain": peer, "load_before": load}))


if __name__ == "__main__":
    main()
