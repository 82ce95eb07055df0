"""A trial against a straight DataLoader loop: the paper's ConvNet on FashionMNIST, on one CPU.

Both start from the same weights and see the same samples in the same order; they take turns in
one process, with equal threads. It compares speed and losses, not optimizers.

Then whole trials, as a lane runs them, with the evaluations that a workload can ask for, against a
trial by defaults whose memory is filled before its first use, as it was before there was a choice.

    THERMOLION_DATA=DIR python -m benchmarks.trial_throughput
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset

from jobs.contract.layout import Layout
from jobs.contract.pack import LANE_ENVIRONMENT, Pack
from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.evaluation_plan import EvaluationPlan
from jobs.contract.workloads.workload import ImageWorkload
from jobs.images import data, torchvision_import
from jobs.images.evaluate import network_input
from jobs.images.splits import Block
from jobs.images.trainer import Training
from jobs.lane import run_pack
from jobs.ranks.launch import Launch

TOTAL_BAR = 1.8  # times faster, the whole of training
DATA_BAR = 10.0  # times faster, images to network input alone
LOSS_BAR = 1e-4  # largest difference of a step's loss in the first epoch
# Of the wall time of a trial by defaults, as it was, at most.
PLANS: dict[str, tuple[EvaluationPlan, float | None]] = {
    "by defaults": (EvaluationPlan(), None),
    "evaluate: {every: 1ep}": (EvaluationPlan("1ep"), 0.72),
    "evaluate: {every: 1ep, samples: 2000}": (EvaluationPlan("1ep", samples=2000), 0.65),
}


class StraightConvNet(nn.Module):
    """The paper's ConvNet as it is written there: ReLU before each pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.linear1, self.linear2 = nn.Linear(4096, 256), nn.Linear(256, 10)

    def forward(self, images: Tensor) -> Tensor:
        for convolution in (self.conv1, self.conv2):
            images = functional.max_pool2d(functional.relu(convolution(images)), 2)
        return self.linear2(functional.relu(self.linear1(images.flatten(1))))


@dataclass(frozen=True)
class Setting:
    """What both sides share; `samples` is torchvision's set with its per-sample transform."""

    trial: Trial
    dataset: data.Dataset
    samples: Any
    block: Block

    @property
    def epochs(self) -> int:
        return self.trial.images.epochs

    def loader(self, epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
        part = Subset(self.samples, self.block.order(epoch).tolist())
        return DataLoader(part, batch_size=self.trial.images.global_batch)

    def initial_straight_model(self) -> StraightConvNet:
        model, ours = StraightConvNet(), self.block.initial_model().state_dict()
        names = zip(model.state_dict(), ours.values(), strict=True)
        model.load_state_dict({name: weights.clone() for name, weights in names})
        return model


def straight_training(setting: Setting, epochs: int) -> tuple[float, list[float]]:
    """Train by DataLoader; return seconds and the loss of every step."""
    model = setting.initial_straight_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    begin = time.perf_counter()
    for epoch in range(epochs):
        for images, labels in setting.loader(epoch):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    return time.perf_counter() - begin, [float(loss) for loss in losses]


def trial_training(setting: Setting) -> float:
    """Train as a trial does, without its evaluations; return seconds."""
    training = Training(setting.trial, setting.dataset, Launch())
    begin = time.perf_counter()
    training.advance(training.steps, lambda: False)
    return time.perf_counter() - begin


def trial_losses(setting: Setting) -> list[float]:
    """Return the loss of every step of the first epoch of the trial."""
    training = Training(setting.trial, setting.dataset, Launch())
    losses = []
    for step in range(1, training.steps_per_epoch + 1):
        training.advance(step, lambda: False)
        losses.append(training.measure()["train_loss"])
    return losses


def straight_data(setting: Setting) -> float:
    begin = time.perf_counter()
    for _images, _labels in setting.loader(0):
        pass
    return time.perf_counter() - begin


def trial_data(setting: Setting) -> float:
    part = setting.dataset.train
    begin = time.perf_counter()
    for chosen in setting.block.order(0).split(setting.trial.images.global_batch):
        network_input(part.images[chosen])
        part.labels[chosen].sum()
    return time.perf_counter() - begin


def in_turns(
    repeats: int, first: Callable[[], float], second: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Run first, second, first, …, and end with first, so that drift burdens both alike."""
    ones, others = [first()], []
    for _ in range(repeats):
        others.append(second())
        ones.append(first())
    return ones, others


def _trial(epochs: int) -> Trial:
    workload = ImageWorkload(
        "fashion", "fashion_mnist", "convnet", epochs, global_batch=1024, split="replication"
    )
    candidate = Candidate("adam", "adam", {"lr": 1e-3})
    return Trial(workload, candidate, "compare", 0, block_seeds(0, "compare", workload, 0))


def _samples(root: Path) -> Any:
    steps = torchvision_import.torchvision.transforms
    pipeline = steps.Compose(
        [steps.Resize((32, 32)), steps.ToTensor(), steps.Normalize((0.5,), (0.5,))]
    )
    return torchvision_import.datasets.FashionMNIST(root, train=True, transform=pipeline)


def _row(name: str, straight: float, ours: float, bar: float | None) -> None:
    ratio = straight / ours
    met = "" if bar is None else f">= {bar:g}x: {'met' if ratio >= bar else 'MISSED'}"
    print(f"{name:<48}{straight:>10.3f}{ours:>10.3f}{ratio:>9.2f}x  {met}")


@contextmanager
def _filled_memory() -> Iterator[None]:
    """Have torch write NaN into memory before its first use, as all trials did."""
    fixed = Launch.make_deterministic
    Launch.make_deterministic = lambda launch, *_, **__: fixed(launch)  # type: ignore[method-assign]  # there is no option to do that
    try:
        yield
    finally:
        Launch.make_deterministic = fixed  # type: ignore[method-assign]  # as it was


def whole_trial(trial: Trial, root: Path, threads: int) -> float:
    """Run a trial in a lane of its own, its data at hand; return seconds."""
    with tempfile.TemporaryDirectory() as folder:
        pack = Pack(Layout(Path(folder), "throughput"), "0001", 0, (trial,), data_root=root)
        begin = time.perf_counter()
        assert run_pack(pack, Launch(threads=threads)) == 0
        return time.perf_counter() - begin


def compare_evaluations(root: Path, epochs: int, repeats: int, threads: int) -> None:
    """Time trials by plan, in turns, and print the median ratios of the rounds."""
    usual = _trial(epochs)
    seconds: dict[str, list[float]] = {name: [] for name in ("as it was", *PLANS)}
    whole_trial(_trial(1), root, threads)  # warms up, and reads the data
    for _ in range(repeats):
        with _filled_memory():
            seconds["as it was"].append(whole_trial(usual, root, threads))
        for name, (plan, _) in PLANS.items():
            trial = replace(usual, workload=replace(usual.images, evaluate=plan))
            seconds[name].append(whole_trial(trial, root, threads))
    before = seconds["as it was"]
    print(f"\nwhole trials of {epochs} epochs, {repeats} rounds; medians, ratios by round")
    print(f"{'by defaults, memory filled':<48}{median(before):>10.3f} s")
    for name, (_, bar) in PLANS.items():
        ratios = [one / base for one, base in zip(seconds[name], before, strict=True)]
        ratio, rounds = median(ratios), ", ".join(f"{one:.2f}" for one in ratios)
        met = "" if bar is None else f"<= {bar:g}x: {'met' if ratio <= bar else 'MISSED'}"
        print(f"{name:<48}{median(seconds[name]):>10.3f} s{ratio:>9.3f}x  ({rounds})  {met}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", action="store_true", help="only whole trials, in here")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=os.environ.get("THERMOLION_DATA"))
    chosen = parser.parse_args()
    if chosen.data is None:
        parser.error("no images: --data DIR or THERMOLION_DATA names the folder of FashionMNIST")
    torch.set_num_threads(chosen.threads)
    if chosen.evaluations:
        compare_evaluations(chosen.data, chosen.epochs, chosen.repeats, chosen.threads)
        return

    begin = time.perf_counter()
    samples = _samples(chosen.data)
    straight_once = time.perf_counter() - begin
    begin = time.perf_counter()
    dataset = data.load("fashion_mnist", {}, chosen.data)
    decode = time.perf_counter() - begin
    trial = _trial(chosen.epochs)
    setting = Setting(trial, dataset, samples, Block(trial, dataset))

    _, expected = straight_training(setting, epochs=1)  # warms up, too
    losses = trial_losses(setting)
    difference = max(abs(a - b) for a, b in zip(expected, losses, strict=True))
    straight, ours = in_turns(
        chosen.repeats,
        lambda: straight_training(setting, setting.epochs)[0],
        lambda: trial_training(setting),
    )
    straight_epoch, our_epoch = in_turns(
        max(5, chosen.repeats), lambda: straight_data(setting), lambda: trial_data(setting)
    )

    images = len(setting.block.split.train)
    print(f"\n{images} images, {setting.epochs} epochs, {chosen.threads} thread(s), Adam; medians")
    print(f"{'seconds':<48}{'straight':>10}{'trial':>10}{'ratio':>10}")
    _row("training in all, decoding apart", median(straight), median(ours), TOTAL_BAR)
    whole = median(straight) + straight_once, median(ours) + decode
    _row("training in all, decoding once", *whole, None)
    _row("data path, one epoch", median(straight_epoch), median(our_epoch), DATA_BAR)
    amortised = (
        median(straight_epoch) + straight_once / setting.epochs,
        median(our_epoch) + decode / setting.epochs,
    )
    _row("data path, one epoch, decoding spread over all", *amortised, DATA_BAR)
    verdict = "met" if difference <= LOSS_BAR else "MISSED"
    print(f"decoding {len(dataset.train) + len(dataset.test)} images once: {decode:.3f} s")
    print(f"largest loss difference, epoch 1: {difference:.2e}  <= {LOSS_BAR:g}: {verdict}")
    pairs = zip(straight, ours, strict=False)
    print("training ratios by pair: " + ", ".join(f"{a / b:.2f}" for a, b in pairs), flush=True)
    # A process of its own, because the environment of a lane decides how fast memory is had.
    again = [sys.executable, "-m", "benchmarks.trial_throughput", *sys.argv[1:], "--evaluations"]
    subprocess.run(again, env=os.environ | LANE_ENVIRONMENT | {"PYTHONSAFEPATH": ""}, check=True)


if __name__ == "__main__":
    main()
