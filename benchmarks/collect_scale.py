"""How collecting scales: time and memory of thousands of trials, and runs a second beside others.

The trials are synthetic, their logs, MLflow and the collector are real. `--rounds` interleaves
collecting with the bare loop of create_run, log_batch and set_terminated on a store of its own,
and with the usual training script that logs every epoch into a default `mlflow server`.
"""

import argparse
import contextlib
import json
import math
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.contract.layout import Layout
from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import ImageWorkload

EPOCHS, STEPS = 12, 40
CANDIDATES = 10
PER_LOG = 100  # trials of one lane
A_ROUND = {"collect": 40, "bare": 40, "server": 2}  # runs of each way
START_MS = 1_700_000_000_000


def planned(count: int) -> list[Trial]:
    """Return so many trials: ten candidates on one workload."""
    workload = ImageWorkload("digits", "digits", "convnet", epochs=EPOCHS, global_batch=128)
    arms = [Candidate(f"sgd[lr={n / 100}]", "sgd", {"lr": n / 100}) for n in range(CANDIDATES)]
    blocks = -(-count // CANDIDATES)
    seeds = [block_seeds(0, "compare", workload, block) for block in range(blocks)]
    pairs = ((arm, block) for block in range(blocks) for arm in arms)
    every = (Trial(workload, arm, "compare", block, seeds[block]) for arm, block in pairs)
    return [trial for trial, _ in zip(every, range(count), strict=False)]


def curve(number: int, epoch: int) -> dict[str, float]:
    """Return the metrics of an epoch; those of no two trials are alike."""
    reached = 1 - math.exp(-epoch / (3 + number % 7)) + number * 1e-7
    names = ("val_accuracy", "val_loss", "train_accuracy", "train_loss", "lr", "grad_norm")
    return dict(zip(names, (reached, 2 - reached, reached, 1.9 - reached, 1e-3, 1.0), strict=True))


def write_logs(layout: Layout, trials: list[Trial]) -> None:
    """Write what lanes would have written, without their syncs."""
    layout.events.mkdir(parents=True)
    for pack, first in enumerate(range(0, len(trials), PER_LOG)):
        lines: list[dict[str, Any]] = [
            {"type": "opened", "trial": None, "submission": "s1", "pack": pack, "lane": 0}
            | {"host": "node1", "device": "cpu", "code": "c0", "packages": {"torch": "2"}}
        ]
        for number, trial in enumerate(trials[first : first + PER_LOG], start=first):
            lines += _lines(number, trial)
        with layout.event_log("s1", pack, 0, 0).open("x") as file:
            for seq, line in enumerate(lines):
                head = {"v": 1, "attempt": 0, "seq": seq, "time_ms": START_MS + seq * 100}
                file.write(json.dumps(head | line) + "\n")


def _lines(number: int, trial: Trial) -> Iterator[dict[str, Any]]:
    facts = {"token": "t", "steps": EPOCHS * STEPS, "steps_per_epoch": STEPS}
    chance = {"test_accuracy": 0.1, "val_accuracy": 0.1}
    same = {"data": "d", "split": f"s{trial.block}", "init": f"i{trial.block}"}
    yield {"type": "started", "trial": trial.id, "config": trial.to_json(), **facts} | {
        "chance": chance,
        "digests": same,
    }
    for epoch in range(1, EPOCHS + 1):
        step = epoch * STEPS
        at = {"step": step, "epoch": epoch, "samples": step * 128, "train_seconds": epoch * 0.5}
        yield {"type": "evaluated", "trial": trial.id, **at, "metrics": curve(number, epoch)}
    ended = {"step": EPOCHS * STEPS, "train_seconds": EPOCHS * 0.5, "peak_memory_mb": 100.0}
    metrics = {"test_accuracy": curve(number, EPOCHS)["val_accuracy"]}
    yield {"type": "completed", "trial": trial.id, **ended, "metrics": metrics}


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def collect_all(root: Path, count: int) -> None:
    """Collect as a process of its own would; print what it took as JSON."""
    from tracking.mlflow_store.collect import Collector
    from tracking.outcomes import read_outcomes

    begin = time.perf_counter()
    layout, memory = Layout(root, "scale"), {}
    outcomes = list(read_outcomes(layout.events, planned(count)).values())
    marks = {count // 10, count // 2, count}

    def watch(done: int, _total: int) -> None:
        if done in marks:
            memory[done] = round(_memory_mb())

    done = Collector(layout).collect(outcomes, progress=watch)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cost = {"seconds": seconds, "cpu_s": time.process_time()}
    counts = cost | {"new": done.new, "updated": done.updated, "unchanged": done.unchanged}
    print(json.dumps(counts | {"peak_mb": round(peak), "mb_at": memory}))


def work(way: str, root: Path, count: int) -> None:
    """Send as many runs as each line of stdin says; answer each with the seconds it took."""
    sends = {"collect": _collecting, "bare": _bare, "server": _usual}[way](root, count)
    next(sends)
    print("ready", flush=True)
    for line in sys.stdin:
        begin = time.perf_counter()
        sends.send(int(line))
        print(time.perf_counter() - begin, flush=True)


def _collecting(root: Path, count: int) -> Iterator[None]:
    from tracking.mlflow_store.collect import Collector
    from tracking.outcomes import read_outcomes

    layout = Layout(root, "scale")
    outcomes = list(read_outcomes(layout.events, planned(count)).values())
    collector, sent = Collector(layout, f"sqlite:///{root}/collected.db"), 0
    collector.collect([])
    while True:
        more = yield
        sent += more
        brought = collector.collect(outcomes[:sent])
        assert brought.new == more, brought


def _payload() -> tuple[dict[str, str], dict[str, str]]:
    params = {f"param{n}": str(n) for n in range(20)}
    return params, {f"tag{n}": str(n) for n in range(10)}


def _bare(root: Path, _count: int) -> Iterator[None]:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(tracking_uri=f"sqlite:///{root}/bare.db")
    experiment = client.create_experiment("scale")
    params, tags = _payload()
    number = 0
    while True:
        more = yield
        for _ in range(more):
            number += 1
            run = client.create_run(experiment, start_time=START_MS, tags=tags)
            points = [
                Metric(name, value, START_MS + epoch, epoch * STEPS)
                for epoch in range(1, EPOCHS + 1)
                for name, value in curve(number, epoch).items()
            ]
            entities = [Param(name, value) for name, value in params.items()]
            client.log_batch(run.info.run_id, metrics=points, params=entities)
            client.set_terminated(run.info.run_id)


def _usual(root: Path, _count: int) -> Iterator[None]:
    import mlflow

    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # stdout has the answers
    with _default_server(root) as uri:
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment("scale")
        params, tags = _payload()
        number = 0
        while True:
            more = yield
            for _ in range(more):
                number += 1
                with mlflow.start_run(tags=tags):
                    mlflow.log_params(params)
                    for epoch in range(1, EPOCHS + 1):
                        mlflow.log_metrics(curve(number, epoch), step=epoch * STEPS)


@contextlib.contextmanager
def _default_server(root: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{root}/server.db"]
    with (root / "server.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=root, stdout=log, stderr=log, start_new_session=True
        )
    uri = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert server.poll() is None, (root / "server.log").read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{uri}/health", timeout=5).close()
                break
            time.sleep(0.2)
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def pace(root: Path, count: int, rounds: int) -> dict[str, list[float]]:
    """Return runs a second of every way, round by round, one way after the other in each."""
    started = {way: _child("--work", way, root=root, count=count) for way in A_ROUND}
    paces: dict[str, list[float]] = {way: [] for way in A_ROUND}
    try:
        for process in started.values():
            assert process.stdout.readline() == "ready\n"
        for _ in range(rounds + 1):  # the first one warms up
            for way, process in started.items():
                process.stdin.write(f"{A_ROUND[way]}\n")
                process.stdin.flush()
                paces[way].append(A_ROUND[way] / float(process.stdout.readline()))
    finally:
        for process in started.values():
            process.communicate()
    return {way: rates[1:] for way, rates in paces.items()}


def _child(*arguments: str, root: Path, count: int) -> "subprocess.Popen[str]":
    module = ["-m", "benchmarks.collect_scale", "--root", str(root), "--trials", str(count)]
    return subprocess.Popen(
        [sys.executable, *module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def scale(root: Path, count: int) -> dict[str, Any]:
    """Collect everything twice, each time in a process of its own."""
    costs = {}
    for name in ("first", "second"):
        answer, _ = _child("--all", root=root, count=count).communicate()
        costs[name] = json.loads(answer)
    assert (costs["first"]["new"], costs["second"]["unchanged"]) == (count, count), costs
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="a new folder; the store stays there, for `ui`")
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--all", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.all:
        collect_all(chosen.root, chosen.trials)
        return
    if chosen.work:
        work(chosen.work, chosen.root, chosen.trials)
        return
    with contextlib.ExitStack() as stack:
        root = chosen.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_logs(Layout(root, "scale"), planned(chosen.trials))
        paces = pace(root, chosen.trials, chosen.rounds) if chosen.rounds else {}
        costs = scale(root, chosen.trials)
    if chosen.json:
        print(json.dumps({"paces": paces, "scale": costs}))
        return
    middle = {way: statistics.median(each) for way, each in paces.items()}
    for way, median in middle.items():
        print(f"{way:8} {median:6.1f} runs/s, median of {chosen.rounds} rounds")
    if middle:
        print(f"collect / bare   {middle['collect'] / middle['bare']:.2f} (bar: at least 0.7)")
        print(f"collect / server {middle['collect'] / middle['server']:.1f} (bar: at least 10)")
    for name, one in costs.items():
        seconds = f"{one['seconds']:.1f} s ({one['cpu_s']:.1f} s of CPU)"
        print(f"{name:8} {seconds}, peak {one['peak_mb']} MB, {one['mb_at']} MB at")


if __name__ == "__main__":
    main()
