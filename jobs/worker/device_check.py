"""Whether a device can be used: is it there, does it allocate, does it compute right.

Asked before the first trial of a job. Draws no random number and keeps no memory, so that it
changes no bit of a training; on a GPU that works it takes some milliseconds beyond the start of
CUDA, which the training needs as well.
"""

import torch

_SIDE = 256  # of the matrices
_NUMBERS = 2**23  # that are written and read back: 32 MB


def find_fault(device: torch.device) -> str | None:
    """Return what is wrong with a device, None if nothing is."""
    if device.type == "cuda" and not torch.cuda.is_available():
        return "no GPU can be used here: torch sees none"
    try:
        wrong = _compute(device)
    except RuntimeError as error:  # an error of CUDA's, or no memory
        return f"the GPU fails before the first trial: {error}"
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return wrong


def _compute(device: torch.device) -> str | None:
    """Return which result is wrong, None for none; whole numbers are exact in any order."""
    numbers = torch.arange(_NUMBERS, dtype=torch.int32, device=device)
    total = int(numbers.sum(dtype=torch.int64))
    if total != _NUMBERS * (_NUMBERS - 1) // 2:
        return f"the GPU computes wrong: numbers in its memory add up to {total}"
    here = torch.arange(_SIDE * _SIDE, dtype=torch.int64).reshape(_SIDE, _SIDE)
    left, right = (here % 7 - 3).float(), (here % 5 - 2).float()
    there = (left.to(device) @ right.to(device)).cpu()
    count = int((there != left @ right).sum())
    if count:
        return f"the GPU computes wrong: {count} entries of a product of matrices"
    return None
