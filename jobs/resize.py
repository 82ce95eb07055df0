"""Bilinear resizing of whole batches, in Pillow's own fixed-point arithmetic.

The pixels equal those of `torchvision.transforms.Resize` on PIL images bit for bit, for all
images of a set at once; Pillow itself is not called, so its version cannot move a pixel.
Only for square images of one size: for others the order of Pillow's two passes depends on the
shape and on its version; they are left to Pillow, one by one (see `jobs.readers`).
"""

import torch
from torch import Tensor

_FRACTION_BITS = 22  # PRECISION_BITS of Pillow's Resample.c: 32 bits less 8 of a pixel, 2 spare
_CHUNK_PIXELS = 2**18  # keeps the float64 copies in the cache of a core


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
