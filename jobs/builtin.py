"""Data sets that need no files: scikit-learn's digits and a seeded synthetic set.

Sets that lie on disk are in `jobs.readers`.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy
import torch
from torch import Tensor

from jobs.catalog import DataError
from jobs.data import ImageSet, RawData

_DIGIT_STEP = 15  # values 0…16 become 0…240: 15 is the largest whole step, so nothing is rounded
_UNIFORMS = 4  # as many uniform bytes make one noise value, near enough to a normal one
_CONTRAST = 40.0  # grey levels per standard deviation


def digits(_root: Path | None) -> RawData:
    """Return the 1,797 images of `sklearn.datasets.load_digits`, 8x8, without a test part.

    They are read from its file: to import scikit-learn takes a node as long as to import torch.
    Raises DataError where scikit-learn is not installed.
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


def _noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return nearly normal noise, mean 0 and variance 1, float32.

    Sums of integers, since `torch.randn` differs in its last bits between kinds of CPU, and data
    digests have to agree between nodes.
    """
    total = torch.randint(0, 256, (_UNIFORMS, *shape), generator=generator).sum(0)
    variance = _UNIFORMS * (256**2 - 1) / 12
    noise: Tensor = (total - _UNIFORMS * 127.5) / variance**0.5
    return noise
