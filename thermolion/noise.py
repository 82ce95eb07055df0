"""Noise that depends on (seed, step, parameter) alone; touches no global generator."""

import hashlib

import torch
from torch import Tensor


def keyed_generator(device: torch.device | str, *key: int | str) -> torch.Generator:
    """Return a generator whose draws are a function of `key` (and of the kind of device)."""
    seed = hashlib.sha256("/".join(map(str, key)).encode()).digest()[:8]
    return torch.Generator(device).manual_seed(int.from_bytes(seed, "big"))


def standard_normal(like: Tensor, seed: int, step: int, param_id: int) -> Tensor:
    """Return N(0, 1) draws of the shape, type and device of `like`.

    Equal arguments give equal draws on the same kind of device; a CPU and a CUDA device differ.
    """
    generator = keyed_generator(like.device, seed, step, param_id)
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
