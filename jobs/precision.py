"""Number formats of a training: fp32, and the mixed precisions bf16 and fp16.

Only what torch's own autocast does; weights and optimizer stay float32.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

_MIXED = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """Return the context in which a model is called on `device` (`cpu` or `cuda`)."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device, dtype=_MIXED[precision])


def widened(logits: Tensor) -> Tensor:
    """Return `logits` for a loss: those of 16 bits in float32, others as they are."""
    return logits.float() if logits.dtype in _MIXED.values() else logits


def make_scaler(device: str, precision: str) -> "torch.amp.GradScaler | None":
    """Return the loss scaler that fp16 needs, or its small gradients become zero."""
    return torch.amp.GradScaler(device) if precision == "fp16" else None
