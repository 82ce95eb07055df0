"""From the logs of a large study to its finished report, as a process of its own, and its memory.

Twelve data sets, nine candidates, ten seeds, curves of 200 points; with `--times 10` a hundred
seeds. The logs are written by this script, in the format of the lanes; the reader is
`thermolion report`. On a busy machine the processor seconds are what can be compared.

    python -m benchmarks.compare_speed
"""

import argparse
import json
import math
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.contract.trial import Trial
from orchestrator.study.study import Study, open_study

POINTS = 200
BARS = {1: (20.0, None), 10: (90.0, 2048.0)}  # times: seconds, MB
_NAMES = [f"adamw{k}: {{optimizer: adamw, lr: {(k + 1) / 1000}}}" for k in range(9)]
_SWEEP = """\
study: large
workloads:
  each: {{dataset: [{sets}]}}
  model: mlp
  epochs: 50
candidates: {{{candidates}}}
compare: {{candidate: adamw0}}
seeds: {seeds}
"""
_SETS = (
    "digits, mnist, fashion_mnist, kmnist, emnist_mnist, qmnist, usps, cifar10, svhn, gtsrb, "
    "stl10, semeion"
)


def record(root: Path, times: int) -> Study:
    """Record a study with all of its logs, one a block; nothing is trained."""
    path = root / "large.yaml"
    text = _SWEEP.format(sets=_SETS, candidates=", ".join(_NAMES), seeds=10 * times)
    path.write_text(text)
    study = open_study(str(path), root)
    study.record()
    study.layout.events.mkdir(parents=True)
    blocks: dict[tuple[str, int], list[Trial]] = {}
    for trial in study.trials:
        blocks.setdefault((trial.workload.name, trial.block), []).append(trial)
    for number, trials in enumerate(blocks.values()):
        log = study.layout.event_log("s1", number, 0, 0)
        with log.open("w") as file:
            file.writelines(json.dumps(line) + "\n" for line in _lines(trials))
    return study


def _lines(trials: list[Trial]) -> Iterator[dict[str, Any]]:
    """Yield the events of a lane that has trained one block."""
    seq = 0

    def line(type_: str, trial: str | None, **payload: Any) -> dict[str, Any]:
        nonlocal seq
        seq += 1
        stamp = 1_700_000_000_000 + seq
        return {
            "v": 1,
            "type": type_,
            "trial": trial,
            "attempt": 0,
            "seq": seq,
            "time_ms": stamp,
        } | payload

    yield line("opened", None, submission="s1", pack=0, lane=0, host="n", device="cpu", code="c")
    for trial in trials:
        noise = random.Random(trial.id)
        shared = f"{trial.workload.name}-{trial.block}"
        yield line(
            "started",
            trial.id,
            config=trial.to_json(),
            token="t",
            steps=POINTS * 10,
            steps_per_epoch=40,
            chance={"test_accuracy": 0.1, "val_accuracy": 0.1},
            digests={"data": trial.workload.name, "init": shared, "order": shared},
        )
        top = 0.9 + noise.gauss(0, 0.003)
        for point in range(POINTS + 1):
            value = top - 0.8 * math.exp(-point / 40) + noise.gauss(0, 0.002)
            yield line(
                "evaluated",
                trial.id,
                step=point * 10,
                epoch=point / 4,
                samples=point * 1280,
                train_seconds=point / 10,
                metrics={"val_accuracy": max(0.0, min(1.0, value)), "train_loss": 2 - value},
            )
        yield line(
            "completed",
            trial.id,
            step=POINTS * 10,
            train_seconds=20.0,
            metrics={"test_accuracy": top},
        )


def main() -> None:
    """Print seconds and the largest memory of the reader, and the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1, choices=sorted(BARS))
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as folder:
        study = record(Path(folder), times)
        command = [
            sys.executable,
            "-m",
            "orchestrator.cli.main",
            "report",
            "large",
            "--root",
            folder,
        ]
        begin = time.perf_counter()
        process = os.spawnv(os.P_WAIT, sys.executable, command)
        seconds = time.perf_counter() - begin
        assert process == 0
        page = study.layout.report / "report.html"
        size = page.stat().st_size / 1e6
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    memory, busy = used.ru_maxrss / 1024, used.ru_utime + used.ru_stime
    bar_s, bar_mb = BARS[times]
    met = seconds <= bar_s and (bar_mb is None or memory <= bar_mb)
    bars = f"{bar_s:.0f} s" + ("" if bar_mb is None else f", {bar_mb:.0f} MB")
    print(
        f"{len(study.trials)} trials, {POINTS + 1} points each: {seconds:.1f} s ({busy:.1f} s of "
        f"processor), {memory:.0f} MB, a page of {size:.1f} MB "
        f"(bar {bars}: {'met' if met else 'MISSED'})"
    )


if __name__ == "__main__":
    main()
