"""What a sweep may name: data sets, models and augmentations, with their facts and defaults.

Standard library only, so that a login node can plan and check with it: it opens no image and
builds no network. The counts are those of the full official sets and serve time estimates alone.
"""

import importlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import folder_parts
from jobs.options import DataError as DataError  # known by this name to all that read data
from jobs.options import filled as filled
from jobs.options import known as known

AUGMENTATIONS = ("hflip", "crop")
NO_DECAY = ("bias", "norm")
TORCHVISION = "torchvision:"  # `torchvision:NAME` is a model of torchvision's
IMAGE_FOLDER = folder_parts.PREFIX
PAPER_SIZE = 32  # pixels; arXiv 2512.01881v2 resizes all of its twelve sets to 32x32


@dataclass(frozen=True)
class DatasetSpec:
    """A data set: images are square, `size` pixels wide; `options` hold every default.

    An option named `classes`, `channels` or `size` overrides the field of that name.
    `files` are alternatives: the paths below the data root that make the set present.
    """

    reader: str
    classes: int
    channels: int
    size: int
    train_images: int
    test_images: int
    files: tuple[tuple[str, ...], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    later: frozenset[str] = frozenset()

    @property
    def needs_root(self) -> bool:
        return bool(self.files)


@dataclass(frozen=True)
class ModelSpec:
    """A model: `mflop(channels, size, classes, options)` is a rough forward cost of one image,
    in millions of multiply-adds; `min_size` is the smallest image it accepts, in pixels.
    `later` names options that are younger than id version 1.
    """

    builder: str
    mflop: Callable[[int, int, int, Mapping[str, Any]], float]
    min_size: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    later: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FolderSpec:
    """A folder of images: its classes and counts are known to nobody before it is read."""

    options: Mapping[str, Any] = field(default_factory=lambda: {"size": 224})
    later: frozenset[str] = frozenset()


def _idx(folder: str, train: str, test: str, images: str, labels: str) -> tuple[str, ...]:
    return tuple(
        f"{folder}/raw/{part}-{kind}" for part in (train, test) for kind in (images, labels)
    )


def _mnist_like(reader: str, folder: str, train: int, test: int) -> DatasetSpec:
    files = _idx(folder, "train", "t10k", "images-idx3-ubyte", "labels-idx1-ubyte")
    return DatasetSpec(f"jobs.readers:{reader}", 10, 1, PAPER_SIZE, train, test, (files,))


_EMNIST = _idx(
    "EMNIST", "emnist-mnist-train", "emnist-mnist-test", "images-idx3-ubyte", "labels-idx1-ubyte"
)
_QMNIST = _idx("QMNIST", "qmnist-train", "qmnist-test", "images-idx3-ubyte", "labels-idx2-int")
_CIFAR10 = (
    *(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
    "cifar-10-batches-py/test_batch",
    "cifar-10-batches-py/batches.meta",
)
_CIFAR100 = tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta"))
_STL10 = tuple(  # torchvision asks for the unlabelled images, too
    f"stl10_binary/{name}.bin"
    for name in ("train_X", "train_y", "unlabeled_X", "test_X", "test_y")
)
_GTSRB = ("gtsrb/GTSRB/Training", "gtsrb/GTSRB/Final_Test/Images", "gtsrb/GT-final_test.csv")
_SVHN = ("train_32x32.mat", "test_32x32.mat")

# The twelve of the paper in its order, then two that need no files.
DATASETS: Mapping[str, DatasetSpec] = {
    "gtsrb": DatasetSpec("jobs.readers:gtsrb", 43, 3, PAPER_SIZE, 26_640, 12_630, (_GTSRB,)),
    "semeion": DatasetSpec(
        "jobs.readers:semeion", 10, 1, PAPER_SIZE, 1_274, 319, (("semeion.data",),)
    ),
    "mnist": _mnist_like("mnist", "MNIST", 60_000, 10_000),
    "fashion_mnist": _mnist_like("fashion_mnist", "FashionMNIST", 60_000, 10_000),
    "kmnist": _mnist_like("kmnist", "KMNIST", 60_000, 10_000),
    "emnist_mnist": DatasetSpec(
        "jobs.readers:emnist_mnist", 10, 1, PAPER_SIZE, 60_000, 10_000, (_EMNIST,)
    ),
    "qmnist": DatasetSpec("jobs.readers:qmnist", 10, 1, PAPER_SIZE, 60_000, 60_000, (_QMNIST,)),
    "usps": DatasetSpec(
        "jobs.readers:usps", 10, 1, PAPER_SIZE, 7_291, 2_007, (("usps.bz2", "usps.t.bz2"),)
    ),
    "cifar10": DatasetSpec(
        "jobs.readers:cifar10", 10, 3, PAPER_SIZE, 50_000, 10_000, (_CIFAR10, ("cifar10.npz",))
    ),
    "cifar100": DatasetSpec(
        "jobs.readers:cifar100", 100, 3, PAPER_SIZE, 50_000, 10_000, (_CIFAR100,)
    ),
    "svhn": DatasetSpec("jobs.readers:svhn", 10, 3, PAPER_SIZE, 73_257, 26_032, (_SVHN,)),
    "stl10": DatasetSpec("jobs.readers:stl10", 10, 3, PAPER_SIZE, 5_000, 8_000, (_STL10,)),
    "digits": DatasetSpec("jobs.builtin:digits", 10, 1, 8, 1_438, 359),
    "synthetic": DatasetSpec(
        "jobs.builtin:synthetic",
        10,
        1,
        16,
        2_000,
        500,
        options={"difficulty": 0.5, "images": 2_000, "classes": 10, "size": 16, "seed": 0},
    ),
}


def _convnet_mflop(channels: int, size: int, classes: int, _: Mapping[str, Any]) -> float:
    quarter = (size // 4) ** 2
    first, second = channels * 32 * 9 * size**2, 32 * 64 * 9 * (size // 2) ** 2
    return (first + second + 64 * quarter * 256 + 256 * classes) / 1e6


def _mlp_mflop(channels: int, size: int, classes: int, options: Mapping[str, Any]) -> float:
    widths = [channels * size**2, *options["hidden"], classes]
    multiply_adds: int = sum(a * b for a, b in itertools.pairwise(widths))
    return multiply_adds / 1e6


def _resnet18_mflop(_channels: int, size: int, _classes: int, _: Mapping[str, Any]) -> float:
    return 556 * (size / 32) ** 2  # 556 million multiply-adds at 32x32, nearly all in its blocks


def _vit_mflop(channels: int, size: int, classes: int, options: Mapping[str, Any]) -> float:
    tokens, width = (size // options["patch"]) ** 2 + 1, options["width"]
    layer = 12 * width**2 + 2 * tokens * width  # projections and MLP, then attention
    stem = channels * options["patch"] ** 2 * width
    return float(tokens * (options["layers"] * layer + stem) + width * classes) / 1e6


_DROPOUT = frozenset({"dropout"})
MODELS: Mapping[str, ModelSpec] = {
    "convnet": ModelSpec("jobs.models:ConvNet", _convnet_mflop, 4, {"dropout": 0.0}, _DROPOUT),
    "mlp": ModelSpec(
        "jobs.models:mlp", _mlp_mflop, options={"hidden": [256], "dropout": 0.0}, later=_DROPOUT
    ),
    "resnet18": ModelSpec("jobs.models:resnet18", _resnet18_mflop, min_size=8),
    "vit": ModelSpec(
        "jobs.models:vit",
        _vit_mflop,
        options={"patch": 4, "layers": 6, "heads": 3, "width": 192, "dropout": 0.0},
    ),
}


def is_dotted(name: str) -> bool:
    """Say whether `name` is a user's own `module:attribute`, which no list here knows."""
    return ":" in name and not name.startswith((TORCHVISION, IMAGE_FOLDER))


def dataset_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a data set that is not a user's own, with every default.

    Raises DataError for an unknown name or option.
    """
    if name.startswith(IMAGE_FOLDER):
        return filled(FolderSpec(), name, given)
    known(name, DATASETS, "data set")
    return filled(DATASETS[name], name, given)


def model_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a model that is not a user's own, with every default.

    Raises DataError for an unknown name or option; torchvision's models are checked by
    `jobs.models.check_torchvision`, which has to import them.
    """
    if name.startswith(TORCHVISION):
        return dict(given)
    known(name, MODELS, "model")
    return filled(MODELS[name], name, given)


def resolve(path: str) -> Any:
    """Import what `module:attribute` names; raises DataError where there is no such thing."""
    module, _, attribute = path.partition(":")
    try:
        owner = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the user's module exists and misses one of its own imports: let it say so
        raise DataError(
            f"{path!r}: no module {module!r}; write module:attribute, importable on the node"
        ) from error
    if not hasattr(owner, attribute):
        raise DataError(f"{path!r}: module {module!r} has no {attribute!r}")
    return getattr(owner, attribute)


def check_present(dataset: str, root: Path | None) -> None:
    """Raise DataError if the files of `dataset` are not below `root`; opens none of them.

    A user's own data set (`module:attribute`) checks its own files when it is read.
    """
    if is_dotted(dataset):
        return
    if dataset.startswith(IMAGE_FOLDER):
        folder_parts.find(dataset, root)
        return
    known(dataset, DATASETS, "data set")
    spec = DATASETS[dataset]
    if not spec.needs_root:
        return
    if root is None:
        where, missing = "no data root is given", spec.files
    else:
        where = f"it is not below {root}"
        missing = tuple(
            tuple(file for file in files if not (root / file).exists()) for files in spec.files
        )
    if all(missing):
        wanted = ", or ".join(", ".join(files) for files in missing)
        raise DataError(
            f"data set {dataset!r} is absent: {where} (missing: {wanted}); point --data DIR or "
            "THERMOLION_DATA at a folder that has it, or fetch it with --download"
        )
