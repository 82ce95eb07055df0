"""Data sets as uint8 tensors, read once in a process. Changes no pixel, uses no global generator.

A user's own set is a callable `reader(root, **options)` named by dotted path, such as
`my_lab.data:Galaxies`. It returns an object with the attributes of `RawData`, tensors or arrays.
The images must be square and of one size; `root` is None if no data root is given.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from jobs.contract.workloads import catalog
from jobs.contract.workloads.catalog import DataError

_HELD_OUT = 5  # a set without an official test part gives up a fifth, the same for every block


class Images(Protocol):
    """Images with their labels, int64 (n,), in memory or in files."""

    @property
    def labels(self) -> Tensor: ...

    @property
    def channels(self) -> int: ...

    @property
    def size(self) -> int:
        """The width of an image, in pixels."""

    def __len__(self) -> int: ...

    def to(self, device: torch.device | str) -> Self:
        """Return the same images, whose batches and labels are on `device`."""

    def subset(self, indices: Tensor) -> Self:
        """Return the images at `indices`, in their order."""

    def batches(self, chunks: Sequence[Tensor], workers: int = 0) -> Iterator[Tensor]:
        """Yield, for each chunk of indices, its images as uint8 (b, C, S, S) on the device.

        `workers` processes read images that are not in memory; the bits do not depend on them.
        """


@dataclass(frozen=True)
class ImageSet:
    """Images in memory: `images` uint8 (n, C, S, S), `labels` int64 (n,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def size(self) -> int:
        return self.images.shape[-1]

    def to(self, device: torch.device | str) -> "ImageSet":
        return ImageSet(self.images.to(device), self.labels.to(device))

    def subset(self, indices: Tensor) -> "ImageSet":
        indices = indices.to(self.labels.device)
        return ImageSet(self.images[indices], self.labels[indices])

    def batches(self, chunks: Sequence[Tensor], workers: int = 0) -> Iterator[Tensor]:  # noqa: ARG002  # nothing is left to read
        return (self.images[chosen] for chosen in chunks)


@dataclass(frozen=True)
class RawData:
    """What a reader returns; `test` is None if there is no official test part.

    `tracks` (n_train,) number the recordings that training images come from, if several show one
    object; no track is then in both parts of a split.
    """

    train: ImageSet
    test: ImageSet | None
    classes: int
    tracks: Tensor | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set; `tracks` int64 (n_train,); `digest` identifies its content."""

    train: Images
    test: Images
    classes: int
    tracks: Tensor | None
    digest: str

    def to(self, device: torch.device | str) -> "Dataset":
        """Return the set with its images and labels on `device`."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))


def load(
    name: str,
    options: Mapping[str, Any],
    root: Path | None,
    download: bool = False,
    device: str = "cpu",
) -> Dataset:
    """Return the data set `name` on `device`, from memory if this process has read it before.

    Raises DataError for an unknown name or option, for absent or damaged files, and if a user's
    reader breaks the protocol. Downloads only if `download`.
    """
    text = json.dumps(dict(options), sort_keys=True)
    folder = None if root is None else Path(root).resolve()
    return _load(name, text, folder, download, device)


# A lane runs whole blocks of one workload, then the next: two sets at a time are enough.
@lru_cache(maxsize=2)
def _load(name: str, options: str, root: Path | None, download: bool, device: str) -> Dataset:
    return _read(name, options, root, download).to(device)


def _read(name: str, options: str, root: Path | None, download: bool) -> Dataset:
    given = json.loads(options)
    if catalog.is_dotted(name):
        return _make_dataset(name, catalog.resolve(name)(root, **given))
    arguments = catalog.dataset_options(name, given)
    if name.startswith(catalog.IMAGE_FOLDER):
        streamed: Dataset = catalog.resolve("jobs.images.folders:read")(name, root, **arguments)
        return streamed
    if root is None or not download:
        catalog.check_present(name, root)
    spec = catalog.DATASETS[name]
    reader = catalog.resolve(f"jobs.images.readers:{name}")
    if not spec.files:
        return _make_dataset(name, reader(root, **arguments))
    try:
        return _make_dataset(name, reader(root, download=download, **arguments))
    except ImportError:
        raise
    except Exception as error:  # a damaged file raises whatever its parser happens to
        raise DataError(
            f"data set {name!r} below {root} cannot be read ({type(error).__name__}: {error}); "
            "remove its files, then fetch it again with --download"
        ) from error


def normalise(images: Tensor) -> Tensor:
    """Map uint8 `images` to float32 in [-1, 1]: ToTensor, then Normalize(0.5, 0.5), to the bit."""
    # A divisor on the device: CUDA multiplies by the reciprocal of a host number, other bits.
    scale = torch.full((), 255.0, device=images.device)
    return images.float().div_(scale).sub_(0.5).mul_(2.0)  # to halve is exact, so is to double


def draw(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` of the items with `labels` (n,), stratified by class; return sorted indices.

    Fractions go to the classes with the largest remainder, the smaller label first.
    """
    sizes = torch.bincount(labels)
    scaled = sizes * count
    quotas = scaled // len(labels)
    remainders = scaled % len(labels)
    short = count - int(quotas.sum())
    quotas[torch.argsort(remainders, descending=True, stable=True)[:short]] += 1
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    position = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes)[labels[by_class]]
    return by_class[position < quotas[labels[by_class]]].sort().values


def draw_mask(labels: Tensor, one_in: int, generator: torch.Generator) -> Tensor:
    """Draw one in `one_in` of the items with `labels` (n,), as `draw` does; return a mask (n,)."""
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[draw(labels, round(len(labels) / one_in), generator)] = True
    return mask


def _make_dataset(name: str, raw: Any) -> Dataset:
    """Make a Dataset of what a reader has returned; raises DataError if it is no RawData."""
    if not all(hasattr(raw, attribute) for attribute in ("train", "test", "classes")):
        raise DataError(
            f"data set {name!r}: its reader returned {type(raw).__name__}, which lacks the "
            "attributes train, test and classes of jobs.images.data.RawData"
        )
    classes = int(raw.classes)
    train = _make_part(name, "train", raw.train, classes)
    tracks = getattr(raw, "tracks", None)
    if tracks is not None:
        tracks = torch.as_tensor(tracks).long()
        if tracks.shape != train.labels.shape:
            raise DataError(
                f"data set {name!r}: {len(train)} training images, {len(tracks)} tracks"
            )
    if raw.test is None:
        held_out = draw_mask(train.labels, _HELD_OUT, torch.Generator().manual_seed(0))
        test, train = train.subset(held_out), train.subset(~held_out)
        tracks = None if tracks is None else tracks[~held_out]
    else:
        test = _make_part(name, "test", raw.test, classes)
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"data set {name!r}: training images are {tuple(train.images.shape[1:])}, test "
            f"images {tuple(test.images.shape[1:])}"
        )
    tensors = (train.images, train.labels, test.images, test.labels)
    digest = _digest(tensors if tracks is None else (*tensors, tracks))
    return Dataset(train, test, classes, tracks, digest)


def _make_part(name: str, part: str, raw: Any, classes: int) -> ImageSet:
    images = torch.as_tensor(raw.images).contiguous()
    labels = torch.as_tensor(raw.labels).long().contiguous()
    square = images.ndim == 4 and images.shape[2] == images.shape[3]
    if images.dtype != torch.uint8 or not square or labels.shape != images.shape[:1]:
        raise DataError(
            f"data set {name!r}, {part}: images {images.dtype} {tuple(images.shape)} with labels "
            f"{tuple(labels.shape)}; needed are uint8 (n, C, S, S) and (n,)"
        )
    if len(labels) == 0 or int(labels.min()) < 0 or int(labels.max()) >= classes:
        given = f"{int(labels.min())} to {int(labels.max())}" if len(labels) else "none"
        raise DataError(f"data set {name!r}, {part}: labels {given}, of {classes} classes from 0")
    return ImageSet(images, labels)


def _digest(tensors: tuple[Tensor, ...]) -> str:
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(repr(tuple(tensor.shape)).encode())
        array: Any = tensor.numpy()
        sha.update(memoryview(array).cast("B"))
    return sha.hexdigest()[:16]
