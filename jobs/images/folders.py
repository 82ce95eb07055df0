"""Folders of images by class, which need not fit into memory: files are decoded as they are used.

The bits do not depend on the number of processes that decode.
"""

import hashlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import data as loading

from jobs.contract.workloads import catalog, image_files
from jobs.contract.workloads.catalog import DataError
from jobs.images import torchvision_import
from jobs.images.data import Dataset

_STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2})


@dataclass(frozen=True)
class FolderSet:
    """Images in files: `labels` int64 (n,) and batches of images are on one device."""

    files: tuple[str, ...]
    labels: Tensor
    size: int

    channels = 3

    def __len__(self) -> int:
        return len(self.files)

    def to(self, device: torch.device | str) -> "FolderSet":
        return replace(self, labels=self.labels.to(device))

    def subset(self, indices: Tensor) -> "FolderSet":
        files = tuple(self.files[index] for index in indices.tolist())
        return replace(self, files=files, labels=self.labels[indices.to(self.labels.device)])

    def batches(self, chunks: Sequence[Tensor], workers: int = 0) -> Iterator[Tensor]:
        """Yield the images of each of `chunks`; `workers` processes read ahead."""
        device = self.labels.device
        loader: loading.DataLoader[Any] = loading.DataLoader(
            _ImageFiles(self.files, self.size),
            batch_sampler=[chunk.tolist() for chunk in chunks],
            num_workers=workers,
            worker_init_fn=_end_with_lane,
            collate_fn=_collate,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # the default is the generator of the dropout
        )
        for images in _start(loader):
            if isinstance(images, DataError):
                raise images
            yield images.to(device, non_blocking=True)


def _collate(samples: "list[Tensor | DataError]") -> "Tensor | DataError":
    """Make a batch of `samples`, or return the first error among them.

    An error that is raised in a reading process would be raised again deep in torch, whose frames
    then keep these processes alive.
    """
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
    batch: Tensor = loading.default_collate(samples)
    return batch


def _start(loader: "loading.DataLoader[Any]") -> "Iterator[Tensor | DataError]":
    """Start the processes of `loader`, with the signals blocked that stop a lane.

    A job that is stopped may signal all of its processes. The lane alone reacts, at the end of a
    step: a reading process that ended by itself would turn the stop into a failure.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)  # a new process inherits it
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_lane(_worker: int) -> None:
    """Let a SIGTERM of the lane still end this process, as at the end of the lane."""
    threading.Thread(target=_await_signal_of, args=[os.getppid()], daemon=True).start()


def _await_signal_of(lane: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != lane:
        pass
    os._exit(0)


class _ImageFiles(loading.Dataset[Any]):
    """Files as uint8 (3, S, S): the shorter side resized to S, bilinear, then the centre."""

    def __init__(self, files: Sequence[str], size: int) -> None:
        steps = torchvision_import.torchvision.transforms
        self._files = files
        self._pixels = steps.Compose(
            [steps.Resize(size), steps.CenterCrop(size), steps.PILToTensor()]
        )

    def __getitem__(self, index: int) -> "Tensor | DataError":
        file = self._files[index]
        try:
            pixels: Tensor = self._pixels(torchvision_import.datasets.folder.pil_loader(file))
        except Exception as error:  # a damaged file raises whatever its parser happens to
            return DataError(
                f"image {file} cannot be read ({type(error).__name__}: {error}); replace it, or "
                "remove it, which makes another data set"
            )
        return pixels


def read(name: str, root: Path | None, size: int) -> Dataset:
    """Find the images of `imagefolder:PATH`; opens none of them.

    The digest is of `size`, the paths below the folder and their sizes in bytes, sorted: it
    changes with the files, but not with pixels in a file of the same size.
    Raises DataError if a part or a class is absent or empty.
    """
    parts, classes = [], []
    for part in catalog.find_image_folders(name, root):
        classes = image_files.find_classes(part)
        try:
            samples = torchvision_import.datasets.folder.make_dataset(
                str(part),
                {name: label for label, name in enumerate(classes)},
                is_valid_file=partial(image_files.is_image, part=str(part)),
            )
        except FileNotFoundError as error:  # a class without an image
            raise DataError(
                f"data set {name!r}: {part}: {error} Add images of the class, or remove its "
                "folder from both parts"
            ) from error
        files = tuple(file for file, _ in samples)
        parts.append(FolderSet(files, torch.tensor([label for _, label in samples]), size))
    train, test = parts
    lines = sorted(
        f"{Path(file).relative_to(part.parent).as_posix()}\t{Path(file).stat().st_size}"
        for file in train.files + test.files
    )
    whole = hashlib.sha256("\n".join([str(size), *lines]).encode())
    return Dataset(train, test, len(classes), None, whole.hexdigest()[:16])
