"""Many short trials in one lane against their bare training loop, on one CPU.

Both sides train the same model on the same batches with the same evaluations; the lane also logs,
syncs, looks for other attempts and writes the checkpoints that are due. They take turns.

    python -m benchmarks.pack_overhead
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional

from jobs.contract.layout import Layout
from jobs.contract.pack import Pack
from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import ImageWorkload
from jobs.images import data
from jobs.images.evaluate import evaluate, network_input
from jobs.images.splits import Block
from jobs.lane import run_pack
from jobs.ranks.launch import Launch
from thermolion import registry

BAR = 1.25  # times the bare loop
WORKLOAD = ImageWorkload(
    name="digits",
    dataset="digits",
    model="mlp",
    model_options={"hidden": [256]},
    epochs=8,
    global_batch=64,
)
CANDIDATES = [
    Candidate("adamw", "adamw", {"lr": 1e-3}),
    Candidate("adam", "adam", {"lr": 1e-3}),
]


def trials(count: int) -> list[Trial]:
    """Return so many trials, two candidates a block."""
    return [
        Trial(WORKLOAD, candidate, "compare", block, block_seeds(0, "compare", WORKLOAD, block))
        for block in range(count // 2)
        for candidate in CANDIDATES
    ]


def bare(chosen: list[Trial]) -> float:
    """Train as anybody would write it; return seconds."""
    dataset = data.load("digits", {}, None)
    train, begin = dataset.train, time.perf_counter()
    for trial in chosen:
        block = Block(trial, dataset)
        model = block.initial_model().to(memory_format=torch.channels_last)
        candidate = trial.candidate
        optimizer = registry.build(
            candidate.optimizer, model.parameters(), candidate.hyperparameters, 0
        )
        validation = block.split.validation
        assert validation is not None
        held_out = train.subset(validation)
        steps = -(-len(block.split.train) // WORKLOAD.global_batch)
        grid = set(WORKLOAD.evaluate.steps(steps, WORKLOAD.epochs))
        evaluate(model, held_out)
        for epoch in range(WORKLOAD.epochs):
            batches = block.order(epoch).split(WORKLOAD.global_batch)
            for number, indices in enumerate(batches, start=epoch * steps + 1):
                logits = model(network_input(train.images[indices]))
                loss = functional.cross_entropy(logits, train.labels[indices])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if number in grid:
                    evaluate(model, held_out)
        evaluate(model, dataset.test)
    return time.perf_counter() - begin


def lane(chosen: list[Trial]) -> float:
    """Train them in a lane; return seconds."""
    with tempfile.TemporaryDirectory() as folder:
        pack = Pack(Layout(Path(folder), "overhead"), "0001", 0, tuple(chosen))
        begin = time.perf_counter()
        assert run_pack(pack, Launch()) == 0
        return time.perf_counter() - begin


def main() -> None:
    """Print seconds a trial on both sides, their ratio, and the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    Launch().make_deterministic(fill=False)
    chosen = trials(options.trials)
    lane(chosen[:2]), bare(chosen[:2])  # data and kernels are at hand from now on
    pairs = [(bare(chosen), lane(chosen)) for _ in range(options.pairs)]
    ratios = [ours / theirs for theirs, ours in pairs]
    for theirs, ours in pairs:
        print(f"bare {theirs / len(chosen):.3f} s a trial, lane {ours / len(chosen):.3f}")
    met = "met" if median(ratios) <= BAR else "MISSED"
    print(f"lane / bare {median(ratios):.3f} (bar {BAR}: {met})")


if __name__ == "__main__":
    main()
