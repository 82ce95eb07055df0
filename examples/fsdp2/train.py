"""A script of one's own on several nodes: FSDP2, with sharded checkpoints that it writes itself.

In a sweep each rank is started by the sweep, with the variables that torchrun would give it. By
hand: `torchrun --nproc-per-node 2 train.py --lr 0.1 --seed 0 --steps 100`.
"""

import argparse
import shutil
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.optim import SGD, Optimizer

import thermolion

BATCH, TRAIN, EVERY = 64, 1200, 10


def load(folder: Path | None, model: nn.Module, optimizer: Optimizer) -> int:
    """Load the last whole checkpoint; return the step to go on from."""
    latest = folder / "latest" if folder else None
    if latest is None or not latest.exists():
        return 0
    step = int(latest.read_text())
    weights, moments = get_state_dict(model, optimizer)
    dcp.load({"model": weights, "optimizer": moments}, checkpoint_id=latest.with_name(f"{step}"))
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments)
    print(f"rank {dist.get_rank()} goes on from step {step}")
    return step


def save(folder: Path | None, model: nn.Module, optimizer: Optimizer, step: int) -> None:
    """Save a checkpoint, each rank its shard; `latest` names it once all of it is there."""
    if folder is None:
        return
    weights, moments = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": moments}, checkpoint_id=folder / f"{step}")
    if dist.get_rank() == 0:
        (folder / "latest.new").write_text(f"{step}")
        (folder / "latest.new").replace(folder / "latest")
        for old in folder.glob("[0-9]*"):
            if old.name != f"{step}":
                shutil.rmtree(old)


def is_over() -> bool:
    """Return True, on all ranks at the same step, once any of them was told to stop."""
    told = torch.tensor(float(thermolion.should_stop()))
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return bool(told)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    return (model(images).argmax(1) == labels).float().mean().item()


def train(lr: float, seed: int, steps: int) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rank, ranks = dist.get_rank(), dist.get_world_size()
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32, device=device) / 16
    labels = torch.tensor(digits.target, device=device)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).to(device)
    fully_shard(model, mesh=init_device_mesh(device, (ranks,)))
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9)

    folder = thermolion.state_dir()
    for step in range(load(folder, model, optimizer), steps):
        # The batch follows from seed and step: a resumed trial takes the same ones.
        order = torch.Generator().manual_seed(seed + 1_000_003 * step)
        chosen = torch.randint(TRAIN, (BATCH,), generator=order)[rank::ranks]
        loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        over = is_over()
        if (step + 1) % EVERY == 0:
            score = accuracy(model, images[TRAIN:1500], labels[TRAIN:1500])
            thermolion.log(step + 1, val_accuracy=score)
        if over or (step + 1) % EVERY == 0:
            save(folder, model, optimizer, step + 1)
        if over:
            return
    thermolion.log_final(test_accuracy=accuracy(model, images[1500:], labels[1500:]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    train(**vars(parser.parse_args()))
    dist.destroy_process_group()
