"""Readers of the paper's twelve image sets, through torchvision's own classes.

Each returns `RawData` at 32x32 pixels and fetches nothing unless told to. Sets that need no
files are in `jobs.builtin`.
"""

from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor

from jobs import vision
from jobs.catalog import PAPER_SIZE
from jobs.data import ImageSet, RawData
from jobs.resize import resize


def gtsrb(root: Path, download: bool = False) -> RawData:
    """Read the German traffic signs, with the track of every training image."""
    parts = [vision.datasets.GTSRB(root, split, download=download) for split in ("train", "test")]
    train, test = (_decoded(part) for part in parts)
    # A file is <class>/<track>_<frame>.ppm, tracks are counted anew in every class.
    names = [f"{label}/{Path(path).name.split('_')[0]}" for path, label in parts[0]._samples]
    tracks = torch.from_numpy(numpy.unique(names, return_inverse=True)[1])
    return RawData(train, test, 43, tracks)


def semeion(root: Path, download: bool = False) -> RawData:
    """Read SEMEION, which has no official test part."""
    return RawData(_arrays(vision.datasets.SEMEION(root, download=download)), None, 10)


def mnist(root: Path, download: bool = False) -> RawData:
    return _by_flag(vision.datasets.MNIST, root, download)


def fashion_mnist(root: Path, download: bool = False) -> RawData:
    return _by_flag(vision.datasets.FashionMNIST, root, download)


def kmnist(root: Path, download: bool = False) -> RawData:
    return _by_flag(vision.datasets.KMNIST, root, download)


def emnist_mnist(root: Path, download: bool = False) -> RawData:
    """Read EMNIST's digits; they are stored transposed, and stay so, as in the paper."""
    return _by_flag(vision.datasets.EMNIST, root, download, split="mnist")


def qmnist(root: Path, download: bool = False) -> RawData:
    """Read QMNIST with all of its 60,000 test images."""
    kind = vision.datasets.QMNIST
    train, test = (_arrays(kind(root, what, download=download)) for what in ("train", "test"))
    return RawData(train, test, 10)


def usps(root: Path, download: bool = False) -> RawData:
    return _by_flag(vision.datasets.USPS, root, download)


def cifar10(root: Path, download: bool = False) -> RawData:
    """Read CIFAR-10 from torchvision's batches, or else from `cifar10.npz`.

    The archive holds uint8 x_train, x_test (n, 32, 32, 3) and integers y_train, y_test (n,).
    """
    archive = root / "cifar10.npz"
    if (root / vision.datasets.CIFAR10.base_folder).exists() or not archive.exists():
        return _by_flag(vision.datasets.CIFAR10, root, download)
    with numpy.load(archive) as arrays:
        train, test = (_image_set(arrays[f"x_{p}"], arrays[f"y_{p}"]) for p in ("train", "test"))
    return RawData(train, test, 10)


def cifar100(root: Path, download: bool = False) -> RawData:
    return _by_flag(vision.datasets.CIFAR100, root, download, classes=100)


def svhn(root: Path, download: bool = False) -> RawData:
    """Read SVHN without its extra part."""
    return _by_split(vision.datasets.SVHN, root, download)


def stl10(root: Path, download: bool = False) -> RawData:
    """Read the labelled part of STL-10."""
    return _by_split(vision.datasets.STL10, root, download)


def _by_flag(
    kind: Any, root: Path, download: bool, classes: int = 10, **arguments: str
) -> RawData:
    train, test = (
        _arrays(kind(root, train=flag, download=download, **arguments)) for flag in (True, False)
    )
    return RawData(train, test, classes)


def _by_split(kind: Any, root: Path, download: bool) -> RawData:
    train, test = (_arrays(kind(root, split, download=download)) for split in ("train", "test"))
    return RawData(train, test, 10)


def _arrays(dataset: Any) -> ImageSet:
    """Take a torchvision set that holds all of its images in one array."""
    labels = dataset.targets if hasattr(dataset, "targets") else dataset.labels
    return _image_set(dataset.data, labels)


def _image_set(pixels: Any, labels: Any) -> ImageSet:
    """Bring (n, H, W), (n, H, W, 3) or (n, 3, H, W) to one layout and size."""
    images = torch.as_tensor(pixels)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    elif images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2)
    classes = torch.as_tensor(labels).long()
    # QMNIST's labels are rows (class, writer, …); the class comes first.
    return ImageSet(resize(images, PAPER_SIZE), classes[:, 0] if classes.ndim == 2 else classes)


def _decoded(dataset: Any) -> ImageSet:
    """Decode a torchvision set whose images are files of unequal sizes."""
    images = torch.empty((len(dataset), 3, PAPER_SIZE, PAPER_SIZE), dtype=torch.uint8)
    labels = torch.empty(len(dataset), dtype=torch.int64)
    for index in range(len(dataset)):
        image, labels[index] = dataset[index]
        images[index] = _pixels(image.resize((PAPER_SIZE,) * 2, Image.Resampling.BILINEAR))
    return ImageSet(images, labels)


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(numpy.array(image)).permute(2, 0, 1)
