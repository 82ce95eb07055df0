"""A sweep of many times what a site takes at once: every trial once, and few questions options.

One trial a task, on a cluster of this machine with a limit on the size of arrays and another on
the jobs of a user. The defaults are those of many sites; they take an hour on two cores, most of
it to import torch 1,500 times. With `--warm` the nodes' Python is forked from one that has done
so, which the tests bring along:

    python -m benchmarks.slurm_limits [--trials 1500] [--array 1001] [--cap 200]
    PYTHONPATH=tests/support python -m benchmarks.slurm_limits --warm
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from jobs.contract.layout import Layout
from slurm.devcluster.cluster import make_cluster
from slurm.devcluster.config import Shape
from tracking.outcomes import read_outcomes

SWEEP = """\
study: limits
workloads: [{{dataset: digits, model: {{mlp: {{hidden: [8]}}}}, epochs: 1, train_images: 64}}]
candidates: {{sgd: {{lr: 0.01}}}}
seeds: {trials}
backend: slurm
pack: {{at_least: 0s}}
"""
STATUS_EVERY_S = 2.0  # of the profile that a cluster of this machine has


def main() -> None:
    """Submit, follow to the end, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1500)
    parser.add_argument("--array", type=int, default=1001, help="MaxArraySize")
    parser.add_argument("--cap", type=int, default=200, help="MaxSubmitJobs of a user")
    parser.add_argument("--warm", action="store_true", help="jobs that find torch imported")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    folder = Path(tempfile.mkdtemp(prefix="tl-", dir="/tmp"))
    shape = Shape(
        nodes=1,
        cpus=cores + 1,  # the feeder's
        gpus=0,
        accounting=True,
        max_array_size=options.array,
        submit_cap=options.cap,
    )
    cluster = make_cluster(folder / "c", shape)
    with contextlib.ExitStack() as undone:
        undone.callback(shutil.rmtree, folder)
        undone.callback(cluster.down)
        cluster.up()
        if options.warm:
            from warm_python import warm_python

            profile, words = cluster.paths.profile, undone.enter_context(warm_python(folder))
            profile.write_text(f'{profile.read_text()}python = "{words}"\n')
        sweep = folder / "limits.yaml"
        sweep.write_text(SWEEP.format(trials=options.trials))
        environment = os.environ | cluster.environment | {"THERMOLION_ROOT": str(folder / "s")}
        begin = time.perf_counter()
        _thermolion(environment, "submit", str(sweep))
        submitted = time.perf_counter() - begin
        _thermolion(_counting(environment, folder), "logs", "limits", "--follow")
        seconds = time.perf_counter() - begin
        layout = Layout(folder / "s", "limits")
        outcomes = read_outcomes(layout.events).values()
        logs = len(list(layout.events.iterdir()))
        calls = len((folder / "bin" / "calls").read_text().splitlines())
    states = Counter(outcome.state for outcome in outcomes)
    print(
        f"{options.trials} trials, arrays of {options.array}, {options.cap} jobs a user, "
        f"{cores} cores"
    )
    print(f"states: {dict(states)}; attempts: {dict(Counter(o.attempts for o in outcomes))}")
    print(f"event logs: {logs}")
    print(f"submitted in {submitted:.1f} s, done in {seconds:.0f} s")
    print(f"calls of squeue: {calls}, at most {seconds / STATUS_EVERY_S:.0f}")


def _thermolion(environment: dict[str, str], *arguments: str) -> None:
    command = [sys.executable, "-P", "-m", "orchestrator.cli.main", *arguments]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def _counting(environment: dict[str, str], folder: Path) -> dict[str, str]:
    """Return `environment` with a squeue on its path that leaves a line at every call."""
    bin_ = folder / "bin"
    bin_.mkdir()
    real = shutil.which("squeue")
    (bin_ / "squeue").write_text(f'#!/bin/bash\necho >> {bin_}/calls\nexec {real} "$@"\n')
    (bin_ / "squeue").chmod(0o755)
    return environment | {"PATH": f"{bin_}:{environment['PATH']}"}


if __name__ == "__main__":
    main()
