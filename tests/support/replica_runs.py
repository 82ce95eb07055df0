"""Trainings on every rank of a gloo group, each with data and dropout of its own."""

import contextlib
import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from published import Published
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from thermolion import ThermoLion
from thermolion.ddp.attach import attach

LOCAL_BATCH = 4


@dataclass(frozen=True)
class Run:
    """How a training goes; `gate` None stands for the published formula with noise per rank."""

    gate: str | None
    steps: int = 300
    options: dict[str, Any] = field(default_factory=dict)
    passes: int = 1
    clip: float | None = None
    reduce: Any = None
    autocast: bool = False
    scaler: bool = False
    overflow_at: int | None = None  # the step at which rank 0 alone has an infinite gradient
    views: bool = False


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(96, 10),
    )


def trained(rank: int, run: Run) -> dict[str, Any]:
    """Train; return a digest of the weights after every step, and the last weights themselves."""
    model = DistributedDataParallel(
        network(), bucket_cap_mb=0.001, gradient_as_bucket_view=run.views
    )
    if run.gate is None:
        optimizer: Any = Published(model.parameters(), lr=1e-2)
    else:
        optimizer = ThermoLion(model.parameters(), lr=1e-2, gate=run.gate, **run.options)
    world_size = dist.get_world_size()
    attach(optimizer, model, global_batch=LOCAL_BATCH * world_size, reduce=run.reduce)
    scaler = torch.amp.GradScaler("cpu", enabled=run.scaler, init_scale=2.0**14)
    prints, start = [], weights(model)
    for step in range(run.steps):
        optimizer.zero_grad()
        for number in range(run.passes):
            last = number == run.passes - 1
            with contextlib.nullcontext() if last else model.no_sync():
                loss = _loss(model, run) / run.passes
                if step == run.overflow_at and rank == 0:
                    loss = loss * torch.inf
                scaler.scale(loss).backward()
        if run.clip is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), run.clip)
        scaler.step(optimizer)
        scaler.update()
        prints.append(hashlib.sha256(weights(model).numpy().tobytes()).hexdigest())
    end = weights(model)
    return {
        "prints": prints,
        "finite": bool(end.isfinite().all()),
        "moved": float((end - start).norm()),
        "weights": end,
        "steps": {int(state.get("step", 0)) for state in optimizer.state.values()},
    }


def several(rank: int, runs: dict[str, Run]) -> dict[str, dict[str, Any]]:
    """Do `trained` for each run; the processes start once."""
    return {name: trained(rank, run) for name, run in runs.items()}


def weights(model: nn.Module) -> Tensor:
    return torch.cat([param.detach().flatten() for param in model.parameters()])


def _loss(model: nn.Module, run: Run) -> Tensor:
    images, labels = torch.randn(LOCAL_BATCH, 1, 8, 8), torch.randint(0, 10, (LOCAL_BATCH,))
    with torch.autocast("cpu", torch.bfloat16, enabled=run.autocast):
        logits = model(images)
    return functional.cross_entropy(logits.float(), labels)


HALF_PRECISION = bf16_compress_hook
