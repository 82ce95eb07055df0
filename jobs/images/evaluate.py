"""Loss and accuracy of a model on a set of images, and the precision in which a model is called.

Mixed precision (bf16, fp16) is torch's autocast; weights and optimizer stay float32.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from jobs.images.data import Images, normalise
from jobs.ranks.group import RankGroup

_MIXED = {"bf16": torch.bfloat16, "fp16": torch.float16}
# How many images are scored at a time unless the workload says it. Fixed, because it decides the
# last bits of the loss. On a CPU small enough that the activations stay in cache and below what
# malloc hands back to the system each time (2x against 512); on a GPU large enough to fill it.
BATCHES = {"cpu": 128, "cuda": 1024}


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """Return the context in which a model is called on `device` (`cpu` or `cuda`)."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device, _MIXED[precision])


def widen(logits: Tensor) -> Tensor:
    """Convert `logits` of 16 bits to float32, for a loss; return others as they are."""
    return logits.float() if logits.dtype in _MIXED.values() else logits


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy (nats) and accuracy (fraction) over one set."""

    loss: float
    accuracy: float


@torch.no_grad()
def evaluate(
    model: nn.Module,
    part: Images,
    precision: str = "fp32",
    workers: int = 0,
    group: RankGroup | None = None,
    batch: int = BATCHES["cpu"],
) -> Score:
    """Score `model` on the images of `part`, which are on its device, `batch` at a time.

    The ranks of a `group` divide the images among them, and all get the score.
    """
    group = group or RankGroup()
    group.broadcast_buffers(model)
    training = model.training
    model.eval()
    device = part.labels.device
    loss = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    mine = torch.arange(len(part), device=device).tensor_split(group.size)[group.rank]
    chunks = [chunk for chunk in torch.split(mine, batch) if len(chunk)]
    for chosen, images in zip(chunks, part.batches(chunks, workers), strict=True):
        truth = part.labels[chosen]
        with autocast(device.type, precision):
            logits = model(network_input(images))
        loss += functional.cross_entropy(widen(logits), truth, reduction="sum")
        correct += (logits.argmax(1) == truth).sum()
    model.train(training)
    group.sum(loss, correct)
    return Score(loss=float(loss) / len(part), accuracy=int(correct) / len(part))


def network_input(images: Tensor) -> Tensor:
    """Convert uint8 images (b, C, S, S) to the input of a network: normalised, channels last."""
    return normalise(images).contiguous(memory_format=torch.channels_last)
