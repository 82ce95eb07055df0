"""How long 10,000 runs of other tools take to be compared, and their memory.

The store is MLflow's own, embedded; its runs are written by SQL, the reader is `thermolion
compare`, as a process of its own. With `--tree FOLDER` the code there reads the same store, in
the same minutes: that of an earlier commit, say. On a busy machine the processor seconds are what
can be compared.

    python -m benchmarks.foreign_runs --tree /tmp/earlier
"""

import argparse
import contextlib
import math
import os
import random
import sqlite3
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from tracking.mlflow_store.store import open_store

EPOCHS = 12
METRICS = ("val_accuracy", "val_loss", "train_accuracy", "train_loss", "lr", "grad_norm")
CANDIDATES = ("adamw", "lion", "sgd", "muon", "adafactor")
DATASETS = ("cifar10", "svhn", "stl10", "digits")
START_MS = 1_700_000_000_000
BAR_S, BAR_MB = 30.0, 400.0  # of processor; at the most


def write_store(folder: Path, count: int) -> str:
    """Write a store with so many runs of one experiment; returns its address."""
    path = folder / "store.db"
    uri = f"sqlite:///{path}"
    with open_store(folder, uri) as store:
        experiment = int(store.client.create_experiment("large"))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for number in range(count):
            _write_run(connection, experiment, number)
    return uri


def _write_run(connection: sqlite3.Connection, experiment: int, number: int) -> None:
    noise = random.Random(number)
    run = uuid.UUID(int=noise.getrandbits(128)).hex
    seed, place = divmod(number, len(CANDIDATES) * len(DATASETS))
    candidate, dataset = CANDIDATES[place % 5], DATASETS[place // 5]
    start = START_MS + number * 1000
    connection.execute(
        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, "
        "status, start_time, end_time, source_version, lifecycle_stage, artifact_uri, "
        "experiment_id) VALUES (?, ?, 'UNKNOWN', '', '', 'u', 'FINISHED', ?, ?, '', 'active', "
        "'', ?)",
        (run, f"run-{number}", start, start + 60_000, experiment),
    )
    params = {"optimizer": candidate, "seed": seed, "dataset": dataset}
    params |= {f"param{index}": index / 10 for index in range(20 - len(params))}
    for table, values in (("params", params), ("tags", {f"tag{k}": f"v{k}" for k in range(10)})):
        connection.executemany(
            f"INSERT INTO {table} (key, value, run_uuid) VALUES (?, ?, ?)",
            [(key, str(value), run) for key, value in values.items()],
        )
    rows = list(_points(noise, place, start, run))
    connection.executemany(
        "INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid) "
        "VALUES (?, ?, ?, ?, 0, ?)",
        rows,
    )
    connection.executemany(
        "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) "
        "VALUES (?, ?, ?, ?, 0, ?)",
        rows[-len(METRICS) :],
    )


def _points(
    noise: random.Random, place: int, start: int, run: str
) -> Iterator[tuple[str, float, int, int, str]]:
    top = 0.9 + place * 1e-4 + noise.gauss(0, 0.003)
    for epoch in range(EPOCHS + 1):
        reached = top - 0.8 * math.exp(-epoch / 3) + noise.gauss(0, 0.002)
        values = (reached, 2 - reached, reached, 1.9 - reached, 1e-3, 1 + noise.random())
        for name, value in zip(METRICS, values, strict=True):
            yield name, value, start + epoch * 5000, epoch, run


def measure(tree: Path, uri: str) -> tuple[float, float, float]:
    """Return seconds, those of the processor, and the largest memory in MB of a comparison."""
    command = [sys.executable, "-m", "orchestrator.cli.main", "compare", "--mlflow", uri]
    command += ["--experiment", "large", "--candidate", "params.optimizer"]
    command += ["--seed", "params.seed", "--workload", "params.dataset"]
    command += ["--metric", "val_accuracy", "--unit", "fraction", "--baseline", "adamw"]
    begin = time.perf_counter()
    process = os.fork()
    if process == 0:
        os.chdir(tree)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.execv(sys.executable, command)
    _, status, used = os.wait4(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    """Print the seconds and the memory of each tree, and the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--tree", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    here = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        uri = write_store(Path(folder), arguments.runs)
        for _ in range(arguments.rounds):
            for tree in (*arguments.tree, here):
                wall, busy, memory = measure(tree, uri)
                met = busy < BAR_S and memory < BAR_MB
                print(
                    f"{tree}: {arguments.runs} runs, {wall:.1f} s ({busy:.1f} s of processor), "
                    f"{memory:.0f} MB (bar {BAR_S:.0f} s, {BAR_MB:.0f} MB: "
                    f"{'met' if met else 'missed'})"
                )


if __name__ == "__main__":
    main()
