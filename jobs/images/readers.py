"""Readers of the built-in image sets: each returns `RawData`, and downloads only if told to.

The paper's twelve come from torchvision's own classes, at 32x32 pixels; digits and a synthetic set
need no files. Images of one size are resized in batches, with the arithmetic of Pillow: the bits
are those of `torchvision.transforms.Resize`, whatever version of Pillow is installed.
"""

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor

from jobs.contract.workloads.catalog import PAPER_SIZE, DataError
from jobs.images import torchvision_import
from jobs.images.data import ImageSet, RawData

_FRACTION_BITS = 22  # PRECISION_BITS of Pillow's Resample.c: 32 bits less 8 of a pixel, 2 spare
_CHUNK_PIXELS = 2**18  # keeps the float64 copies in the cache of a core
_DIGIT_STEP = 15  # values 0…16 become 0…240: 15 is the largest whole step, so nothing is rounded
_UNIFORMS = 4  # as many uniform bytes make one noise value, near enough to a normal one
_CONTRAST = 40.0  # grey levels per standard deviation


def gtsrb(root: Path, download: bool = False) -> RawData:
    """Read the German traffic signs, with the track of every training image."""
    parts = [
        torchvision_import.datasets.GTSRB(root, split, download=download)
        for split in ("train", "test")
    ]
    train, test = (_decode(part) for part in parts)
    # A file is <class>/<track>_<frame>.ppm, tracks are counted anew in every class.
    names = [f"{label}/{Path(path).name.split('_')[0]}" for path, label in parts[0]._samples]
    tracks = torch.from_numpy(numpy.unique(names, return_inverse=True)[1])
    return RawData(train, test, 43, tracks)


def semeion(root: Path, download: bool = False) -> RawData:
    """Read SEMEION, which has no official test part."""
    whole = torchvision_import.datasets.SEMEION(root, download=download)
    return RawData(_image_set(whole), None, 10)


def cifar10(root: Path, download: bool = False) -> RawData:
    """Read CIFAR-10 from torchvision's batches, or else from `cifar10.npz`.

    The archive holds uint8 x_train, x_test (n, 32, 32, 3) and integers y_train, y_test (n,).
    """
    archive = root / "cifar10.npz"
    if (root / torchvision_import.datasets.CIFAR10.base_folder).exists() or not archive.exists():
        return _by_flag("CIFAR10", root, download)
    with numpy.load(archive) as arrays:
        train, test = (
            _resize_images(arrays[f"x_{p}"], arrays[f"y_{p}"]) for p in ("train", "test")
        )
    return RawData(train, test, 10)


def _read_parts(
    argument: str,
    values: tuple[Any, Any],
    kind: str,
    root: Path,
    download: bool = False,
    classes: int = 10,
    **arguments: str,
) -> RawData:
    """Read both parts of a set of torchvision, whose `argument` takes one of two `values`."""
    make = getattr(torchvision_import.datasets, kind)
    train, test = (
        _image_set(make(root, download=download, **{argument: value}, **arguments))
        for value in values
    )
    return RawData(train, test, classes)


_by_flag = partial(_read_parts, "train", (True, False))
_by_split = partial(_read_parts, "split", ("train", "test"))
mnist = partial(_by_flag, "MNIST")
fashion_mnist = partial(_by_flag, "FashionMNIST")
kmnist = partial(_by_flag, "KMNIST")
# EMNIST's digits are stored transposed, and stay so, as in the paper.
emnist_mnist = partial(_by_flag, "EMNIST", split="mnist")
# With all of its 60,000 test images.
qmnist = partial(_read_parts, "what", ("train", "test"), "QMNIST")
usps = partial(_by_flag, "USPS")
cifar100 = partial(_by_flag, "CIFAR100", classes=100)
# Without its extra part.
svhn = partial(_by_split, "SVHN")
# The labelled part alone.
stl10 = partial(_by_split, "STL10")


def digits(_root: Path | None) -> RawData:
    """Return the 1,797 images of `sklearn.datasets.load_digits`, 8x8, without a test part.

    Reads the file itself: an import of scikit-learn takes as long as one of torch.
    Raises DataError if scikit-learn is not installed.
    """
    library = find_spec("sklearn")
    if library is None or library.origin is None:
        raise DataError("digits come with scikit-learn, which is missing here: pip install it")
    path = Path(library.origin).parent / "datasets/data/digits.csv.gz"
    rows = torch.from_numpy(numpy.loadtxt(path, delimiter=",", dtype=numpy.uint8))
    images = rows[:, :-1].reshape(-1, 1, 8, 8) * _DIGIT_STEP
    return RawData(ImageSet(images, rows[:, -1].long()), None, 10)


def synthetic(
    _root: Path | None, difficulty: float, images: int, classes: int, size: int, seed: int
) -> RawData:
    """Draw noisy copies of one template a class: `images` to train on, a quarter as many to test.

    `difficulty` runs from 0 (bare templates) to 1 (noise alone, chance level). The test images
    have a generator of their own. Raises DataError for fewer than 4 images.
    """
    if images < 4:
        raise DataError(f"synthetic: images is {images}, at least 4 are needed")
    shape = (1, size, size)
    templates = _noise((classes, *shape), torch.Generator().manual_seed(seed))

    def part(count: int, stream: int) -> ImageSet:
        labels = torch.arange(count) % classes
        noise = _noise((count, *shape), torch.Generator().manual_seed(3 * seed + stream))
        # The cube spreads the useful range: hundreds of pixels average noise away.
        signal = (1 - difficulty) ** 3
        pixels = signal * templates[labels] + (1 - signal) * noise
        return ImageSet((pixels * _CONTRAST + 128).clamp(0, 255).to(torch.uint8), labels)

    return RawData(part(images, stream=1), part(images // 4, stream=2), classes)


def resize(images: Tensor, size: int) -> Tensor:
    """Return uint8 `images` (n, C, S, S) as (n, C, size, size): width first, as Pillow does.

    Sums of products have at most 8 + 22 significant bits and some carries: float64 holds them
    exactly, whatever the order of summation. Weights sum to 1, so no result leaves 0…255.
    """
    n, channels, before, _ = images.shape
    if before == size:
        return images
    weights = _weights(before, size)
    out = torch.empty((n, channels, size, size), dtype=torch.uint8)
    step = max(1, _CHUNK_PIXELS // (channels * max(before, size) ** 2))
    for start in range(0, n, step):
        rows = (images[start : start + step].double() @ weights.T).add_(0.5).floor_()
        out[start : start + step] = (weights @ rows).add_(0.5).to(torch.uint8)
    return out


def _weights(before: int, after: int) -> Tensor:
    """Return Pillow's triangle filter, cut to `_FRACTION_BITS`, float64 (after, before).

    Follows precompute_coeffs and normalize_coeffs_8bpc of Pillow's Resample.c.
    """
    scale = before / after
    support = max(scale, 1.0)  # an enlargement interpolates, a reduction averages
    weights = torch.zeros((after, before), dtype=torch.float64)
    for row in range(after):
        center = (row + 0.5) * scale
        first = max(int(center - support + 0.5), 0)
        last = min(int(center + support + 0.5), before)
        taps = [
            max(0.0, 1.0 - abs((column - center + 0.5) * (1.0 / support)))
            for column in range(first, last)
        ]
        total = sum(taps)
        for column, tap in zip(range(first, last), taps, strict=True):
            weights[row, column] = int(0.5 + tap / total * 2**_FRACTION_BITS)
    return weights.div_(2**_FRACTION_BITS)  # a power of two: exact


def _image_set(dataset: Any) -> ImageSet:
    """Convert a set of torchvision that holds all of its images in one array."""
    labels = dataset.targets if hasattr(dataset, "targets") else dataset.labels
    return _resize_images(dataset.data, labels)


def _resize_images(pixels: Any, labels: Any) -> ImageSet:
    """Bring (n, H, W), (n, H, W, 3) or (n, 3, H, W) to one layout and size."""
    images = torch.as_tensor(pixels)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    elif images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2)
    classes = torch.as_tensor(labels).long()
    # QMNIST's labels are rows (class, writer, …); the class comes first.
    return ImageSet(resize(images, PAPER_SIZE), classes[:, 0] if classes.ndim == 2 else classes)


def _decode(dataset: Any) -> ImageSet:
    """Decode a set of torchvision whose images are files of unequal sizes.

    Pillow resizes them one by one: for images that are not square the order of its two passes
    depends on the shape and on its version.
    """
    images = torch.empty((len(dataset), 3, PAPER_SIZE, PAPER_SIZE), dtype=torch.uint8)
    labels = torch.empty(len(dataset), dtype=torch.int64)
    for index in range(len(dataset)):
        image, labels[index] = dataset[index]
        pixels = numpy.array(image.resize((PAPER_SIZE,) * 2, Image.Resampling.BILINEAR))
        images[index] = torch.from_numpy(pixels).permute(2, 0, 1)
    return ImageSet(images, labels)


def _noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return nearly normal noise, mean 0 and variance 1, float32.

    Sums of integers, since `torch.randn` differs in its last bits between kinds of CPU, and data
    digests have to agree between nodes.
    """
    total = torch.randint(0, 256, (_UNIFORMS, *shape), generator=generator).sum(0)
    variance = _UNIFORMS * (256**2 - 1) / 12
    noise: Tensor = (total - _UNIFORMS * 127.5) / variance**0.5
    return noise
