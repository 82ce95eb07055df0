"""Splits: which training images a trial trains on, and which it validates on.

The test part belongs to the data set and is never touched here.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from jobs import strata
from jobs.catalog import DataError
from jobs.data import Dataset

PAPER_IMAGES = 5_000  # arXiv 2512.01881v2 trains on the first 5,000 images of a set
_VALIDATION = 10  # one in ten


@dataclass(frozen=True)
class Split:
    """Ascending int64 indices into the training part of a data set, on the CPU."""

    train: Tensor
    validation: Tensor | None


def split(
    dataset: Dataset,
    kind: Literal["fair", "replication"],
    train_images: int | None,
    seed: int,
) -> Split:
    """Split the training part of `dataset`.

    fair: a stratified tenth validates, whole tracks where there are tracks; `train_images` of the
    rest train, a stratified subset (None: all). Both are drawn by `seed`, 64 bits.
    replication: the first `train_images` train (None: 5,000 or as many as there are), none
    validates, `seed` has no part in it.
    Raises DataError for a `train_images` that the set cannot give, or an unknown `kind`.
    """
    if kind == "replication":
        available = len(dataset.train)
        count = min(PAPER_IMAGES, available) if train_images is None else train_images
        _check(count, available, "the training part")
        return Split(torch.arange(count), None)
    if kind != "fair":
        raise DataError(f"unknown split {kind!r}: choose from fair, replication")
    labels = dataset.train.labels.cpu()  # drawn there, so that every device has one split
    generator = torch.Generator().manual_seed(seed)
    validates = _validation(labels, dataset.tracks, generator)
    train = torch.nonzero(~validates).squeeze(1)
    if train_images is not None:
        _check(train_images, len(train), "the training part less its validation tenth")
        train = train[strata.draw(labels[train], train_images, generator)]
    return Split(train, torch.nonzero(validates).squeeze(1))


def chance(labels: Tensor) -> float:
    """Return the accuracy of always naming the most frequent of `labels` (n,), a fraction."""
    return int(torch.bincount(labels.cpu()).max()) / len(labels)


def _validation(labels: Tensor, tracks: Tensor | None, generator: torch.Generator) -> Tensor:
    """Return the mask (n,) of a stratified tenth of the images, or of the tracks."""
    mask = torch.zeros(len(labels), dtype=torch.bool)
    if tracks is None:
        mask[strata.draw(labels, round(len(labels) / _VALIDATION), generator)] = True
        return mask
    names, track = torch.unique(tracks, return_inverse=True)
    of_track = torch.empty(len(names), dtype=torch.int64)
    of_track[track] = labels  # a track shows one object, so one class
    chosen = torch.zeros(len(names), dtype=torch.bool)
    chosen[strata.draw(of_track, round(len(names) / _VALIDATION), generator)] = True
    return chosen[track]


def _check(count: int, available: int, part: str) -> None:
    if not 1 <= count <= available:
        raise DataError(
            f"train_images is {count}, but {part} has {available} images: choose from 1 to "
            f"{available}"
        )
