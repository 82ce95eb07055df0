"""The best learning rate of every registered optimizer on three workloads, by validation accuracy.

What the usual spaces of `tune:` are checked by: `learning_rates.csv` is its output, and a test
holds the spaces to it. Each optimizer has its defaults but for the rate. From there
whole decades are tried on one seed, in both directions until the accuracy has fallen by ten
points, then half decades around the best on four seeds, for as long as an end of them wins.
A rate that comes out less than half a decade from an end of its space is measured on more.

    THERMOLION_DATA=DIR python -m benchmarks.learning_rates > benchmarks/learning_rates.csv
    … --optimizers thermolion --workloads cifar-mlp --seeds 16
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import torch

from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import ImageWorkload
from jobs.images import data
from jobs.images.trainer import Training
from jobs.ranks.launch import Launch
from thermolion.registry import OPTIMIZERS

WORKLOADS = (
    ImageWorkload("digits-convnet", "digits", "convnet", 10, global_batch=64),
    ImageWorkload("fashion-mlp", "fashion_mnist", "mlp", 5, global_batch=64, train_images=2000),
    ImageWorkload("cifar-mlp", "cifar10", "mlp", 5, global_batch=32, train_images=3600),
)
FALLEN = 0.1  # of accuracy: so far below the best, the next decade is not tried any more


@dataclass
class Bench:
    """The scores of one optimizer on one workload, by rate as an exponent in half decades."""

    workload: ImageWorkload
    dataset: data.Dataset
    optimizer: str
    seeds: int
    scores: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)

    def measure(self, half: int, seed: int) -> None:
        """Train at 10 ** (half / 2) unless that was done; keep (accuracy, -loss) of validation."""
        if (half, seed) in self.scores:
            return
        settings = {**OPTIMIZERS[self.optimizer].defaults, "lr": rate(half)}
        candidate = Candidate(self.optimizer, self.optimizer, settings)
        seeds = block_seeds(0, "tune", self.workload, seed)
        training = Training(
            Trial(self.workload, candidate, "tune", seed, seeds), self.dataset, Launch()
        )
        training.advance(training.steps, lambda: False)
        metrics = training.measure()
        loss = metrics["val_loss"]
        accuracy = metrics["val_accuracy"] if math.isfinite(loss) else 0.0
        self.scores[half, seed] = accuracy, -loss if math.isfinite(loss) else -math.inf

    def mean(self, half: int, seeds: int) -> tuple[float, float]:
        """Return the means over so many seeds of (accuracy, -loss): the greater is better."""
        return tuple(  # type: ignore[return-value]  # of two, as every score
            fmean(both) for both in zip(*(self.scores[half, s] for s in range(seeds)), strict=True)
        )

    def best(self) -> int:
        """Return the best rate, measuring what it takes to find it."""
        centre = self._best_decade()
        fine = range(centre - 1, centre + 2)
        while True:
            for half in fine:
                for seed in range(self.seeds):
                    self.measure(half, seed)
            best = max(fine, key=lambda half: self.mean(half, self.seeds))
            if best not in (fine[0], fine[-1]):
                return best
            fine = range(min(fine[0], best - 1), max(fine[-1], best + 1) + 1)

    def _best_decade(self) -> int:
        low = high = 2 * round(math.log10(OPTIMIZERS[self.optimizer].defaults["lr"]))
        self.measure(low, 0)
        while True:
            decades = range(low, high + 1, 2)
            best = max(decades, key=lambda half: self.mean(half, 1))
            floor = self.mean(best, 1)[0] - FALLEN
            if self.mean(high, 1)[0] > floor:
                high += 2
                self.measure(high, 0)
            elif self.mean(low, 1)[0] > floor:
                low -= 2
                self.measure(low, 0)
            else:
                return best


def rate(half: int) -> float:
    """Return 10 ** (half / 2) in two digits: 3.2e-3 between 1e-3 and 1e-2."""
    return float(f"{10 ** (half / 2):.2g}")


def columns(bench: Bench) -> Mapping[str, str]:
    best = bench.best()
    return {
        "optimizer": bench.optimizer,
        "workload": bench.workload.name,
        "seeds": str(bench.seeds),
        "best_lr": f"{rate(best):g}",
        "val_accuracy": f"{bench.mean(best, bench.seeds)[0]:.4f}",
        "half_decade_below": f"{bench.mean(best - 1, bench.seeds)[0]:.4f}",
        "half_decade_above": f"{bench.mean(best + 1, bench.seeds)[0]:.4f}",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("THERMOLION_DATA"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS))
    parser.add_argument("--workloads", nargs="+", default=[one.name for one in WORKLOADS])
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    header = False
    for workload in WORKLOADS:
        if workload.name not in chosen.workloads:
            continue
        dataset = data.load(workload.dataset, workload.dataset_options, chosen.data)
        for optimizer in chosen.optimizers:
            begin = time.process_time()
            bench = Bench(workload, dataset, optimizer, chosen.seeds)
            row = columns(bench)
            if not header:
                print(",".join(row))
                header = True
            print(",".join(row.values()), flush=True)
            spent = time.process_time() - begin
            counted = f"{len(bench.scores)} trainings, {spent:.0f} s of CPU"
            print(f"{optimizer} on {workload.name}: {counted}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
