"""How many images a workload trains on: as a trial has logged, by a file's header, or at most.

Reads no image.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.contract.trial import Trial
from jobs.contract.workloads import catalog
from jobs.contract.workloads.image_files import find_images
from jobs.contract.workloads.workload import ImageWorkload, Workload
from tracking.outcomes import Outcome

_VALIDATION = 10  # one training image in ten is held out
_HEADER = struct.Struct(">ii")  # of a file of labels in the IDX format: what it is, and how many
_LABELS = "-labels-idx"

_Data = tuple[str, str]  # the data set with its options, and how it is split


@dataclass(frozen=True)
class ImageCounts:
    """The images that one trial trains on, is validated on and tested on.

    `logged`: a trial of the study has said so; else they are those of the full official set.
    """

    train: int
    validation: int
    test: int
    logged: bool


class LoggedImages:
    """What the `started` events of a study say of its data, the latest counting."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self._by_workload: dict[str, Mapping[str, int]] = {}
        self._by_data: dict[_Data, Mapping[str, int]] = {}  # of trials that train on all of it
        for outcome in sorted(outcomes, key=lambda one: one.started_ms or 0):
            workload, images = outcome.trial.workload, outcome.started.get("images")
            if isinstance(workload, ImageWorkload) and images:
                self._by_workload[workload.key] = images
                if workload.train_images is None:
                    self._by_data[_data(workload)] = images

    def count(self, workload: ImageWorkload) -> ImageCounts | None:
        """Return the images of a trial; None if nobody knows."""
        known = self._by_workload.get(workload.key) or self._by_data.get(_data(workload))
        if known is not None:
            train = min(workload.train_images or known["train"], known["train"])
            return ImageCounts(train, known["validation"], known["test"], True)
        official = _official(workload)
        if official is None:
            return None
        train, test = official
        held_out = _held_out(train) if workload.holds_out else 0
        most = min(workload.train_images or train, train - held_out)
        return ImageCounts(most, held_out, test, False)

    def available(self, workload: ImageWorkload, data_root: Path | None = None) -> int | None:
        """Return the most `train_images` that a workload can have; None if nobody knows.

        Without a trial that has logged it, the files below `data_root` may say so.
        """
        known = self._by_data.get(_data(workload))
        if known is not None:
            return known["train"]
        official = _official(workload)
        train = official and official[0]
        if data_root is not None or workload.dataset.startswith(catalog.IMAGE_FOLDER):
            train = _count_files(workload.dataset, data_root) or train
        if train is None:
            return None
        return train - (_held_out(train) if workload.holds_out else 0)


def find_shortages(
    declared: Iterable[Workload],
    trials: Iterable[Trial],
    count: Callable[[ImageWorkload], int | None],
) -> list[str]:
    """Say which workloads train on more images than there are: those of some trials.

    `declared` are the workloads of the sweep: any other is a proxy that tuning has made of one.
    `count` returns the most `train_images` that a workload can have, None if nobody knows.
    """
    keys = {one.key for one in declared}
    short = []
    for workload in {trial.workload.key: trial.workload for trial in trials}.values():
        if isinstance(workload, ImageWorkload) and workload.train_images is not None:
            key = "train_images" if workload.key in keys else "tune.proxy.train_images"
            short.append(_describe_shortage(workload, count(workload), key))
    return [text for text in short if text is not None]


def _describe_shortage(workload: ImageWorkload, available: int | None, key: str) -> str | None:
    asked = workload.train_images
    if asked is None or available is None or asked <= available:
        return None
    less = " without its validation tenth" if workload.holds_out else ""
    return (
        f"workload {workload.name!r}: {key} is {asked}, and the training part of "
        f"{workload.dataset}{less} has {available}: write {key}: {available} or less, or leave "
        "it out to train on all of them"
    )


def _data(workload: ImageWorkload) -> _Data:
    return workload.data_set + str(sorted(workload.dataset_options.items())), workload.split


def _held_out(images: int) -> int:
    return round(images / _VALIDATION)


def _official(workload: ImageWorkload) -> tuple[int, int] | None:
    """Return how many images the training and the test part of an official set have."""
    spec = catalog.DATASETS.get(workload.dataset)
    if spec is None:
        return None
    return workload.dataset_options.get("images", spec.train_images), spec.test_images


def _count_files(dataset: str, data_root: Path | None) -> int | None:
    """Return how many training images there are: files of a folder, or by a header with a count.

    None if neither says so; whether the files are there is another check.
    """
    if dataset.startswith(catalog.IMAGE_FOLDER):
        try:
            train, _ = catalog.find_image_folders(dataset, data_root)
        except catalog.DataError:
            return None
        return len(find_images(train))
    spec = catalog.DATASETS.get(dataset)
    if spec is None or data_root is None:
        return None
    labels = next((file for files in spec.files for file in files if _LABELS in file), None)
    if labels is None or not (data_root / labels).is_file():
        return None
    with (data_root / labels).open("rb") as file:
        header = file.read(_HEADER.size)
    return int(_HEADER.unpack(header)[1]) if len(header) == _HEADER.size else None
