"""What the candidates of a block share: split, order of the data, initial weights.

Nothing here depends on the candidate: the comparison of candidates is paired by block. The test
part belongs to the data set, and is not split.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from jobs.contract.trial import Trial
from jobs.contract.workloads.catalog import DataError
from jobs.images import data, models
from jobs.images.data import Dataset
from thermolion.step.noise import keyed_generator

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

    fair: a stratified tenth is for validation, in whole tracks if there are tracks; a stratified
    subset of `train_images` of the rest (None: all) for training. `seed` (64 bits) draws both.
    replication: the first `train_images` (None: 5,000 or as many as there are) are for training,
    none for validation; `seed` is not used.
    Raises DataError for more `train_images` than there are, or an unknown `kind`.
    """
    if kind == "replication":
        available = len(dataset.train)
        count = min(PAPER_IMAGES, available) if train_images is None else train_images
        _check_count(count, available, "the training part")
        return Split(torch.arange(count), None)
    if kind != "fair":
        raise DataError(f"unknown split {kind!r}: choose from fair, replication")
    labels = dataset.train.labels.cpu()  # so that the split is the same on every device
    generator = torch.Generator().manual_seed(seed)
    validates = _draw_validation(labels, dataset.tracks, generator)
    train = torch.nonzero(~validates).squeeze(1)
    if train_images is not None:
        _check_count(train_images, len(train), "the training part less its validation tenth")
        train = train[data.draw(labels[train], train_images, generator)]
    return Split(train, torch.nonzero(validates).squeeze(1))


def chance(labels: Tensor) -> float:
    """Return the accuracy of always naming the most frequent of `labels` (n,), a fraction."""
    return int(torch.bincount(labels.cpu()).max()) / len(labels)


def _draw_validation(labels: Tensor, tracks: Tensor | None, generator: torch.Generator) -> Tensor:
    """Draw a stratified tenth of the images, or of the tracks; return its mask (n,)."""
    if tracks is None:
        return data.draw_mask(labels, _VALIDATION, generator)
    names, track = torch.unique(tracks, return_inverse=True)
    of_track = torch.empty(len(names), dtype=torch.int64)
    of_track[track] = labels  # a track shows one object, so one class
    return data.draw_mask(of_track, _VALIDATION, generator)[track]


def _check_count(count: int, available: int, part: str) -> None:
    if not 1 <= count <= available:
        raise DataError(f"train_images is {count}, choose from 1 to the {available} of {part}")


class Block:
    """The block of a trial on a decoded data set; indices refer to the training part."""

    def __init__(self, trial: Trial, dataset: Dataset) -> None:
        workload = trial.images
        self._seeds, self._workload, self._dataset = trial.seeds, workload, dataset
        self.split = split(dataset, workload.split, workload.train_images, trial.seeds["split"])

    def thin(self, scored: Tensor, count: int) -> Tensor:
        """Draw `count` of the images `scored`, indices into the training part, as a curve is.

        They are stratified by class, the same for every candidate of the block, and all if there
        are no more.
        """
        if count >= len(scored):
            return scored
        labels = self._dataset.train.labels.cpu()[scored]
        generator = keyed_generator("cpu", self._seeds["split"], "curve")
        return scored[data.draw(labels, count, generator)]

    def order(self, epoch: int) -> Tensor:
        """Return the order of an epoch: indices into the training part, (n_train,) int64."""
        chosen = self.split.train
        generator = keyed_generator("cpu", self._seeds["order"], epoch)
        return chosen[torch.randperm(len(chosen), generator=generator)]

    def initial_model(self) -> nn.Module:
        """Build the model on the CPU, so that every device starts from the same weights."""
        torch.manual_seed(self._seeds["init"])
        workload, images = self._workload, self._dataset.train
        shape = images.channels, images.size, self._dataset.classes
        return models.build(workload.model, workload.model_options, *shape)

    def digests(self, model: nn.Module) -> dict[str, str]:
        """Return digests that are equal for all candidates; `model` has its initial weights."""
        parts = [self.split.train]
        if self.split.validation is not None:
            parts.append(self.split.validation)
        return {
            "data": self._dataset.digest,
            "split": tensor_digest(parts),
            "order": tensor_digest([self.order(0)]),
            "init": tensor_digest(model.state_dict().values()),
        }


def tensor_digest(tensors: Iterable[Tensor]) -> str:
    """Return 16 hex digits of sha256 over the bytes of tensors, in the order given."""
    whole = hashlib.sha256()
    for tensor in tensors:
        whole.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()[:16]
