"""What a sweep may name: data sets, models and augmentations, with their facts and defaults.

Checks names and options, and finds the parts of a folder of images. It opens no image and builds
no network; the counts are those of the full official sets and serve time estimates alone.
"""

import importlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.contract.close_names import find_close_name
from jobs.contract.workloads import image_files
from thermolion.errors import InputError


class DataError(InputError, ValueError):
    """Data or a name that cannot be used, with what to do about it."""


@dataclass(frozen=True, kw_only=True)
class OptionSpec:
    """What takes options: `options` hold every default.

    `later` names the options that are younger than id version 1.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    later: frozenset[str] = frozenset()


AUGMENTATIONS = ("hflip", "crop")
NO_DECAY = ("bias", "norm")
TORCHVISION = "torchvision:"  # `torchvision:NAME` is a model of torchvision's
IMAGE_FOLDER = "imagefolder:"  # `imagefolder:/path` is the data set in that folder
PAPER_SIZE = 32  # pixels; arXiv 2512.01881v2 resizes all of its twelve sets to 32x32


@dataclass(frozen=True)
class DatasetSpec(OptionSpec):
    """A data set, which the function of its name in `jobs.images.readers` reads.

    Images are square, `size` pixels wide. An option named `classes`, `channels` or `size`
    overrides the field of that name. `files` are alternatives: the paths below the data root that
    make the set present; there are none for a set that needs no root.
    """

    train_images: int
    test_images: int
    files: tuple[tuple[str, ...], ...] = ()
    classes: int = 10
    channels: int = 1
    size: int = PAPER_SIZE


@dataclass(frozen=True)
class ModelSpec(OptionSpec):
    """A model: `mflop(channels, size, classes, options)` is a rough forward cost of one image,
    in millions of multiply-adds; `min_size` is the smallest image it accepts, in pixels.
    """

    mflop: Callable[[int, int, int, Mapping[str, Any]], float]
    min_size: int = 1


# A folder of images: nobody knows its classes and counts before it is read.
_FOLDER = OptionSpec(options={"size": 224})


def _idx(
    folder: str, train: str = "train", test: str = "t10k", labels: str = "labels-idx1-ubyte"
) -> tuple[str, ...]:
    kinds = ("images-idx3-ubyte", labels)
    return tuple(f"{folder}/raw/{part}-{kind}" for part in (train, test) for kind in kinds)


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
_EMNIST = _idx("EMNIST", "emnist-mnist-train", "emnist-mnist-test")
_QMNIST = _idx("QMNIST", "qmnist-train", "qmnist-test", "labels-idx2-int")
_SYNTHETIC = {"difficulty": 0.5, "images": 2_000, "classes": 10, "size": 16, "seed": 0}

# The twelve of the paper in its order, then two that need no files.
DATASETS: Mapping[str, DatasetSpec] = {
    "gtsrb": DatasetSpec(26_640, 12_630, (_GTSRB,), classes=43, channels=3),
    "semeion": DatasetSpec(1_274, 319, (("semeion.data",),)),
    "mnist": DatasetSpec(60_000, 10_000, (_idx("MNIST"),)),
    "fashion_mnist": DatasetSpec(60_000, 10_000, (_idx("FashionMNIST"),)),
    "kmnist": DatasetSpec(60_000, 10_000, (_idx("KMNIST"),)),
    "emnist_mnist": DatasetSpec(60_000, 10_000, (_EMNIST,)),
    "qmnist": DatasetSpec(60_000, 60_000, (_QMNIST,)),
    "usps": DatasetSpec(7_291, 2_007, (("usps.bz2", "usps.t.bz2"),)),
    "cifar10": DatasetSpec(50_000, 10_000, (_CIFAR10, ("cifar10.npz",)), channels=3),
    "cifar100": DatasetSpec(50_000, 10_000, (_CIFAR100,), classes=100, channels=3),
    "svhn": DatasetSpec(73_257, 26_032, (_SVHN,), channels=3),
    "stl10": DatasetSpec(5_000, 8_000, (_STL10,), channels=3),
    "digits": DatasetSpec(1_438, 359, size=8),
    "synthetic": DatasetSpec(2_000, 500, size=16, options=_SYNTHETIC),
}


def _convnet_mflop(channels: int, size: int, classes: int, _: Mapping[str, Any]) -> float:
    quarter = (size // 4) ** 2
    first, second = channels * 32 * 9 * size**2, 32 * 64 * 9 * (size // 2) ** 2
    return (first + second + 64 * quarter * 256 + 256 * classes) / 1e6


def _mlp_mflop(channels: int, size: int, classes: int, options: Mapping[str, Any]) -> float:
    widths = [channels * size**2, *options["hidden"], classes]
    return float(sum(a * b for a, b in itertools.pairwise(widths))) / 1e6


def _resnet18_mflop(_channels: int, size: int, _classes: int, _: Mapping[str, Any]) -> float:
    return 556 * (size / 32) ** 2  # 556 million multiply-adds at 32x32, nearly all in its blocks


def _vit_mflop(channels: int, size: int, classes: int, options: Mapping[str, Any]) -> float:
    tokens, width = (size // options["patch"]) ** 2 + 1, options["width"]
    layer = 12 * width**2 + 2 * tokens * width  # projections and MLP, then attention
    stem = channels * options["patch"] ** 2 * width
    return float(tokens * (options["layers"] * layer + stem) + width * classes) / 1e6


_DROPOUT = frozenset({"dropout"})
MODELS: Mapping[str, ModelSpec] = {
    "convnet": ModelSpec(_convnet_mflop, min_size=4, options={"dropout": 0.0}, later=_DROPOUT),
    "mlp": ModelSpec(_mlp_mflop, options={"hidden": [256], "dropout": 0.0}, later=_DROPOUT),
    "resnet18": ModelSpec(_resnet18_mflop, min_size=8),
    "vit": ModelSpec(
        _vit_mflop,
        options={"patch": 4, "layers": 6, "heads": 3, "width": 192, "dropout": 0.0},
    ),
}


_KINDS = {
    int: "a whole number (from 1; a seed from 0)",
    float: "a number from 0 to 1",
    list: "a list of whole numbers from 1",
}


def is_dotted(name: str) -> bool:
    """Return True if `name` is the user's `module:attribute`, which no list here has."""
    return ":" in name and not name.startswith((TORCHVISION, IMAGE_FOLDER))


def dataset_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a data set that is not the user's, with every default.

    Raises DataError for an unknown name or option.
    """
    if name.startswith(IMAGE_FOLDER):
        return _fill_options(_FOLDER, name, given)
    check_known(name, DATASETS, "data set")
    return _fill_options(DATASETS[name], name, given)


def model_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a model that is not the user's, with every default.

    Raises DataError for an unknown name or option; torchvision's models are checked by
    `jobs.images.models.check_torchvision`, which has to import them.
    """
    if name.startswith(TORCHVISION):
        return dict(given)
    check_known(name, MODELS, "model")
    return _fill_options(MODELS[name], name, given)


def resolve(path: str) -> Any:
    """Import what `module:attribute` names; raises DataError if there is no such thing."""
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

    The user's data set (`module:attribute`) checks its files itself when it is read.
    """
    if is_dotted(dataset):
        return
    if dataset.startswith(IMAGE_FOLDER):
        find_image_folders(dataset, root)
        return
    check_known(dataset, DATASETS, "data set")
    spec = DATASETS[dataset]
    if not spec.files:
        return
    why = "no data root is given" if root is None else f"it is not below {root}"
    missing = [
        [file for file in files if root is None or not (root / file).exists()]
        for files in spec.files
    ]
    if all(missing):
        wanted = ", or ".join(", ".join(files) for files in missing)
        raise DataError(
            f"data set {dataset!r} is absent: {why} (missing: {wanted}); point --data DIR or "
            "THERMOLION_DATA at a folder that has it, or fetch it with --download"
        )


def find_image_folders(dataset: str, root: Path | None) -> tuple[Path, Path]:
    """Return the folders of the training and the test part of `imagefolder:PATH`.

    A relative path lies below `root`. The test part is `test/`, or else `val/`. Raises DataError
    if a part is absent or has no classes, and if the classes of the parts differ.
    """
    path = Path(dataset.removeprefix(IMAGE_FOLDER))
    if not path.is_absolute():
        if root is None:
            raise DataError(
                f"data set {dataset!r}: no data root is given; write the whole path of the "
                "folder, or point --data DIR or THERMOLION_DATA at the folder that it lies in"
            )
        path = root / path
    parts = [path / name for name in ("train", "test", "val") if (path / name).is_dir()]
    if len(parts) < 2 or parts[0].name != "train":
        present = ", ".join(part.name for part in parts) or "none of them"
        raise DataError(
            f"data set {dataset!r}: {path} needs train/ and test/ (or val/), each with one folder "
            f"of images a class, and has {present}; make them, or name another folder"
        )
    train, test = parts[:2]
    trained, tested = (set(image_files.find_classes(part)) for part in (train, test))
    if not trained:
        raise DataError(
            f"data set {dataset!r}: no classes, {train} holds no folders; move the images of each "
            "class into a folder named after it"
        )
    if trained != tested:
        lacks = [
            f"{part} lacks {', '.join(sorted(missing))}"
            for part, missing in ((train, tested - trained), (test, trained - tested))
            if missing
        ]
        raise DataError(
            f"data set {dataset!r}: the parts have unequal classes ({'; '.join(lacks)}); give "
            "both the same folders"
        )
    return train, test


def check_known(name: str, choices: Iterable[str], what: str) -> None:
    """Raise DataError, with the choices and the nearest one, unless `name` is among them."""
    choices = list(choices)
    if name not in choices:
        near = find_close_name(name, choices, cutoff=0.6)
        hint = f" (did you mean {near!r}?)" if near else ""
        raise DataError(f"unknown {what} {name!r}{hint}: choose from {', '.join(choices)}")


def _fill_options(spec: OptionSpec, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `given` over the defaults of `spec`; raises DataError for an option it lacks.

    An option younger than id version 1 stays out while it holds its default: otherwise every
    trial that was recorded before it would lose its name.
    """
    if given and not spec.options:
        raise DataError(f"{name} takes no options, {next(iter(given))!r} was given")
    whole = dict(spec.options)
    for key, value in given.items():
        check_known(key, spec.options, f"option of {name}")
        whole[key] = _convert_option(name, key, value, spec.options[key])
    return {
        key: value
        for key, value in whole.items()
        if key not in spec.later or value != spec.options[key]
    }


def _convert_option(name: str, key: str, value: Any, default: Any) -> Any:
    """Return `value` in the type of `default`, so that 1 and 1.0 name one trial.

    Options are counts, fractions, or lists of counts; a seed may be 0.
    """
    if isinstance(default, float):
        if type(value) in (int, float) and 0 <= value <= 1:
            return float(value) + 0.0  # -0.0 becomes 0.0
    elif type(value) is type(default):
        counts = value if isinstance(value, list) else [value]
        least = 0 if key == "seed" else 1
        if counts and all(type(count) is int and least <= count <= 2**31 for count in counts):
            return value
    raise DataError(
        f"option {key} of {name} is {value!r}, it must be {_KINDS[type(default)]}, such as "
        f"{default!r}"
    )
