"""Loss and accuracy of a model on a set of images. Trains nothing, keeps no clock."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from jobs.data import normalise

# Fixed, because its size decides the last bits of the loss; small enough that the activations stay
# in cache and below what malloc hands back to the system each time (2x on a CPU against 512).
_BATCH = 128


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy (nats) and accuracy (fraction) over one set."""

    loss: float
    accuracy: float


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> Score:
    """Score `model` on uint8 `images` (n, C, S, S) and int64 `labels` (n,) of its own device."""
    training = model.training
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=images.device)
    correct = torch.zeros((), dtype=torch.int64, device=images.device)
    for begin in range(0, len(labels), _BATCH):
        batch, truth = images[begin : begin + _BATCH], labels[begin : begin + _BATCH]
        logits = model(network_input(batch))
        loss += functional.cross_entropy(logits, truth, reduction="sum")
        correct += (logits.argmax(1) == truth).sum()
    model.train(training)
    return Score(loss=float(loss) / len(labels), accuracy=int(correct) / len(labels))


def network_input(images: Tensor) -> Tensor:
    """Turn uint8 images (b, C, S, S) into what networks take: normalised, channels last."""
    return normalise(images).contiguous(memory_format=torch.channels_last)


def evaluation_steps(steps_per_epoch: int, epochs: int) -> frozenset[int]:
    """Return the steps at which every candidate is evaluated: each quarter epoch, and step 0.

    Where an epoch has fewer than four steps, every step is one.
    """
    quarters = range(4 * epochs + 1)
    return frozenset(math.ceil(quarter * steps_per_epoch / 4) for quarter in quarters)
