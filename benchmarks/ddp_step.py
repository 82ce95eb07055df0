"""Whole training steps under DDP: ThermoLion with each of its gates against AdamW, on ResNet-18.

All optimizers take turns, step by step, in the same processes: two on this CPU over gloo, or one
for each of up to two GPUs over NCCL. It compares speed, not learning.

    python -m benchmarks.ddp_step
"""

import argparse
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn, optim
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.multiprocessing.spawn import spawn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from jobs.images import torchvision_import
from thermolion import ThermoLion
from thermolion.ddp.attach import attach

PEER = "AdamW"


@dataclass(frozen=True)
class Contestant:
    """An optimizer by its class and options; `hook`: gradients averaged by a hook in Python."""

    kind: type[optim.Optimizer]
    options: dict[str, Any] = field(default_factory=dict)
    hook: bool = False


def contestants(device: str) -> dict[str, Contestant]:
    """Return who takes part; on a GPU both sides are fused, on a CPU AdamW is foreach."""
    fast = {"fused": True} if device == "cuda" else {"foreach": True}
    ours = {"fused": True} if device == "cuda" else {}
    return {
        PEER: Contestant(optim.AdamW, fast),
        "AdamW, hook in Python": Contestant(optim.AdamW, fast, hook=True),
        "averaged, noise off": Contestant(ThermoLion, ours | {"noise": False}),
        "averaged": Contestant(ThermoLion, ours),
        "replicas": Contestant(ThermoLion, ours | {"gate": "replicas"}),
        "replicas, all fed": Contestant(
            ThermoLion, ours | {"gate": "replicas", "replicas_feed": "all"}
        ),
        "local": Contestant(ThermoLion, ours | {"gate": "local"}),
    }


class Training:
    """A ResNet-18 of its own under DDP, with one contestant attached."""

    def __init__(self, contestant: Contestant, device: torch.device, batch: int) -> None:
        torch.manual_seed(0)
        model = torchvision_import.models.resnet18(num_classes=10).to(device)
        self.model = DistributedDataParallel(model.to(memory_format=torch.channels_last))
        self.optimizer = contestant.kind(
            self.model.parameters(),
            lr=1e-3,  # type: ignore[call-arg]  # all contestants have it
            **contestant.options,
        )
        reduce = allreduce_hook if contestant.hook else None
        attach(self.optimizer, self.model, global_batch=batch, reduce=reduce)

    def step(self, images: Tensor, labels: Tensor) -> float:
        """Take a whole training step; return seconds."""
        dist.barrier()
        _finish(images.device)
        begin = time.perf_counter()
        self.optimizer.zero_grad()
        functional.cross_entropy(self.model(images), labels).backward()
        self.optimizer.step()
        _finish(images.device)
        return time.perf_counter() - begin


def run(rank: int, world_size: int, store: str, chosen: argparse.Namespace) -> None:
    """Let all contestants take turns on one rank; rank 0 prints what it has measured."""
    cuda = chosen.device == "cuda"
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    torch.set_num_threads(chosen.threads)
    dist.init_process_group(
        "nccl" if cuda else "gloo", init_method=f"file://{store}", rank=rank, world_size=world_size
    )
    taking_part = contestants(chosen.device)
    batch = chosen.batch * world_size
    trainings = {name: Training(each, device, batch) for name, each in taking_part.items()}
    torch.manual_seed(rank)
    images = torch.randn(chosen.batch, 3, chosen.size, chosen.size, device=device)
    labels = torch.randint(10, (chosen.batch,), device=device)
    seconds: dict[str, list[float]] = {name: [] for name in trainings}
    for turn in range(chosen.warmup + chosen.steps):
        for name, training in trainings.items():
            elapsed = training.step(images, labels)
            if turn >= chosen.warmup:
                seconds[name].append(elapsed)
    if rank == 0:
        _tell(seconds, chosen, world_size, sum(p.numel() for p in _model(trainings).parameters()))
    dist.destroy_process_group()


def _model(trainings: dict[str, Training]) -> nn.Module:
    return trainings[PEER].model


def _tell(
    seconds: dict[str, list[float]], chosen: argparse.Namespace, ranks: int, parameters: int
) -> None:
    print(
        f"\nresnet18, {parameters / 1e6:.1f} M parameters, {chosen.device}, {ranks} rank(s), "
        f"{chosen.threads} thread(s), {chosen.batch} images of {chosen.size} pixels a side each; "
        f"{chosen.steps} turns, ratios by turn: median (quartiles)"
    )
    print(f"{'whole step':<24}{'ms':>8}{'to ' + PEER:>12}")
    for name, measured in seconds.items():
        ratios = sorted(a / b for a, b in zip(measured, seconds[PEER], strict=True))
        low, high = ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]
        elapsed = 1000 * median(measured)
        print(f"{name:<24}{elapsed:>8.1f}{median(ratios):>11.2f}x  ({low:.2f} to {high:.2f})")


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16, help="images a rank")
    parser.add_argument("--size", type=int, default=32, help="pixels a side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    chosen = parser.parse_args()
    world_size = min(2, torch.cuda.device_count()) if chosen.device == "cuda" else 2
    os.environ.setdefault("OMP_NUM_THREADS", str(chosen.threads))
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        spawn(run, args=(world_size, store, chosen), nprocs=world_size)


if __name__ == "__main__":
    main()
