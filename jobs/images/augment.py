"""Augmentation of uint8 batches, a function of (seed, epoch, sample index) and of nothing else.

It does not depend on rank, worker or place in the batch, so that a resumed or resharded trial sees
the same pixels. Whether a flip keeps the meaning of an image is for the user to decide.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from jobs.contract.workloads.catalog import AUGMENTATIONS, check_known
from thermolion.step.noise import keyed_generator

_PADDING = 8  # crop moves by up to an eighth of the width: 4 of 32 pixels, 1 of 8


class Augmentation:
    """The named operations on `n` training samples; `apply` is cheap within one epoch."""

    def __init__(self, names: Sequence[str], seed: int, n: int) -> None:
        """Raises DataError for an unknown name."""
        for name in names:
            check_known(name, AUGMENTATIONS, "augmentation")
        self._names = tuple(name for name in AUGMENTATIONS if name in names)
        self._seed = seed
        self._n = n
        self._epoch: int | None = None
        self._draws: dict[str, Tensor] = {}

    def apply(self, images: Tensor, sample_index: Tensor, epoch: int) -> Tensor:
        """Return uint8 `images` (b, C, S, S) augmented; `sample_index` (b,) is below `n`."""
        if epoch != self._epoch:
            self._draws = {
                name: _draw(name, self._seed, epoch, self._n).to(images.device)
                for name in self._names
            }
            self._epoch = epoch
        for name, draws in self._draws.items():
            images = _OPERATIONS[name](images, draws[sample_index])
        return images


def hflip(images: Tensor, draws: Tensor) -> Tensor:
    """Mirror the `images` (b, C, S, S) for which the lowest bit of `draws` (b, 2) is set."""
    return torch.where((draws[:, :1, None, None] & 1).bool(), images.flip(-1), images)


def crop(images: Tensor, draws: Tensor) -> Tensor:
    """Move each image by up to an eighth of its width, down and across by `draws` (b, 2).

    What moves in is 0, as with torchvision's RandomCrop(32, padding=4).
    """
    size = images.shape[-1]
    padding = max(1, size // _PADDING)
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    rows, columns = (
        (draws % (2 * padding + 1)).unsqueeze(2) + torch.arange(size, device=images.device)
    ).unbind(1)
    batch = torch.arange(len(images), device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return padded[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]


_OPERATIONS = {"hflip": hflip, "crop": crop}


def _draw(name: str, seed: int, epoch: int, n: int) -> Tensor:
    """Draw two 31-bit integers for each of `n` samples, int64 (n, 2).

    Every operation has a stream of its own: adding one leaves the others as they were.
    """
    return torch.randint(0, 2**31, (n, 2), generator=keyed_generator("cpu", seed, epoch, name))
