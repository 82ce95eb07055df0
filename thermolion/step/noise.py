"""Noise that is a function of (seed, step, parameter, element): nothing is drawn in sequence.

Every process and resumed run sees the same numbers, and so does a shard that knows its place in
the whole. Touches no global generator.
"""

import hashlib
import math
import struct
from typing import TypeVar

import torch
from torch import Tensor

from thermolion.step.transfer import to_device

# Elements come in rows. A row of 1024 has 512 pairs (j, j + 512), and each pair is one
# Box-Muller transform: word j gives its radius, word j + 512 its angle.
ROW = 1024
PAIRS = ROW // 2

_MASK = 0xFFFFFFFF
# Odd multipliers: the finaliser of MurmurHash3 (Appleby, public domain), and the golden ratio.
_FIRST, _SECOND = 0x85EBCA6B, 0xC2B2AE35
_GOLDEN = 0x9E3779B9
# These make the two halves of a key differ, and the two words of a place.
_SALTS = (0x243F6A88, 0x13198A2E)
_WORD_SALTS = (0x03707344, 0xA4093822)

# π·2⁻³¹, in float32: what turns a word into an angle.
TURN = struct.unpack("f", struct.pack("f", math.pi * 2.0**-31))[0]
# How many rows are made at once on an accelerator: more would take more memory than it saves time.
PIECE = 2**14

_Whole = TypeVar("_Whole", int, Tensor)


def keyed_generator(device: torch.device | str, *key: int | str) -> torch.Generator:
    """Return a generator whose draws are a function of `key` (and of the kind of device)."""
    seed = hashlib.sha256("/".join(map(str, key)).encode()).digest()[:8]
    return torch.Generator(device).manual_seed(int.from_bytes(seed, "big"))


def digest(name: str) -> int:
    """Return a whole number below 2⁶³ that stands for a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def mix(word: _Whole) -> _Whole:
    """Return a bijection of 32-bit words in which every bit depends on every other.

    Takes and gives 0 … 2³²-1, as an int or an int64 tensor.
    """
    word = word ^ (word >> 16)
    word = (word * _FIRST) & _MASK
    word = word ^ (word >> 13)
    word = (word * _SECOND) & _MASK
    return word ^ (word >> 16)


def stream_key(seed: int, param_id: int) -> tuple[int, int]:
    """Return the two 32-bit halves of the key of a parameter's noise; both ints count mod 2⁶⁴."""
    halves = []
    for salt in _SALTS:
        word = salt
        for part in (seed, seed >> 32, param_id, param_id >> 32):
            word = mix((word + _GOLDEN & _MASK) ^ (part & _MASK))
        halves.append(word)
    return halves[0], halves[1]


def row_keys(streams: Tensor, steps: Tensor, owners: Tensor, rows: Tensor) -> Tensor:
    """Return the int32 keys (2, n) of the noise of n rows of k parameters; no host is asked.

    `streams` (2, k) holds the `stream_key` of each parameter and `steps` (k,) the number of its
    step; `owners` (n,) says to which parameter a row belongs, `rows` (n,) which one it is there.
    All are int64.
    """
    of_step = mix(streams ^ (steps & _MASK))
    keys = mix((of_step[:, owners] + rows * _GOLDEN) & _MASK)
    keys[1] |= 1  # odd, so that its exclusive or with an even word of `row_words` is odd
    return keys.to(torch.int32)


def row_words(device: torch.device | str = "cpu") -> Tensor:
    """Return (2, 1024) int32: the constant words of every place in a row, the second ones even.

    The word of a place in a row with keys (a, b) is (first ^ a) · (second ^ b). The second factor
    is odd, so that every word is as likely as any other; places and rows differ in both.
    """
    places = torch.arange(ROW, dtype=torch.int64, device=device)
    first, second = (mix(places * _GOLDEN + salt & _MASK) for salt in _WORD_SALTS)
    return torch.stack([first, second & ~1]).to(torch.int32)


class NormalRows:
    """Make rows of N(0, 1) draws, up to `most` at a time, on one device, in scratch that is kept.

    The words are 32-bit integers, the same on every device; their `log`, `sqrt`, `sin` and `cos`
    may differ between kinds of device in the last bits. `fill` writes to `draws` (most, 1024).
    """

    def __init__(self, most: int, device: torch.device | str = "cpu") -> None:
        self._first, self._second = row_words(device).unbind()
        self._hash = torch.empty((most, ROW), dtype=torch.int32, device=device)
        self._factor = torch.empty((most, ROW), dtype=torch.int32, device=device)
        self.draws = torch.empty((most, ROW), dtype=torch.float32, device=device)
        self._radius = torch.empty((most, PAIRS), dtype=torch.float32, device=device)
        self._angle = torch.empty((most, PAIRS), dtype=torch.float32, device=device)
        self._views: dict[int, tuple[Tensor, ...]] = {}
        # As tensors, because torch takes longer to convert a number than to use it.
        self._half, self._unit, self._twice, self._turn = (
            torch.tensor(number, dtype=torch.float32, device=device)
            for number in (0.5, 2.0**-31, -2.0, TURN)
        )

    def _cut(self, count: int) -> tuple[Tensor, ...]:
        """Return the scratch of `count` rows; kept, because cutting costs as much as using."""
        words, draws = self._hash[:count], self.draws[:count]
        angles = (self._radius[:count], self._angle[:count])
        halves = (*torch.split(words, PAIRS, dim=1), *torch.split(draws, PAIRS, dim=1))
        return words, self._factor[:count], draws, *angles, *halves

    def fill(self, keys: Tensor, scales: Tensor | None = None) -> Tensor:
        """Return the draws (n, 1024), float32, of the rows with `keys` (2, n) from `row_keys`.

        They lie in `draws`, and are valid until the next call. A value depends on the key of its
        row and its place there alone. With `scales` (n,), float32, each row is multiplied by its
        own.
        """
        count = keys.shape[1]
        if count not in self._views:
            self._views[count] = self._cut(count)
        words, factor, draws, radius, angle, *halves = self._views[count]
        radius_words, angle_words, first, second = halves
        one, other = keys.unsqueeze(2).unbind()
        torch.bitwise_xor(self._second, other, out=factor)
        torch.bitwise_xor(self._first, one, out=words).mul_(factor)

        radius.copy_(radius_words)
        # In (0, 1], fine near zero, so that the tail reaches to 6.6.
        radius.abs_().add_(self._half).mul_(self._unit)
        radius.log_().mul_(self._twice).sqrt_()
        if scales is not None:
            radius.mul_(scales.unsqueeze(1))
        angle.copy_(angle_words)
        angle.mul_(self._turn)
        torch.cos(angle, out=first).mul_(radius)
        torch.sin(angle, out=second).mul_(radius)
        return draws


def standard_normal_rows(keys: Tensor, scales: Tensor | None = None) -> Tensor:
    """Return the draws (n, 1024), float32, of the rows with `keys` (2, n) from `row_keys`.

    `scales` (n,), float32, multiply the rows. The bits are those of `NormalRows`, which is for
    many calls on a CPU; a dozen operations, whatever n is up to `PIECE`.
    """
    count = keys.shape[1]
    draws = torch.empty((count, ROW), dtype=torch.float32, device=keys.device)
    most = PIECE if keys.device.type != "cpu" else 64
    for begin in range(0, count, most):
        rows = slice(begin, begin + most)
        _draw(keys[:, rows], None if scales is None else scales[rows], draws[rows])
    return draws


def _draw(keys: Tensor, scales: Tensor | None, out: Tensor) -> None:
    first, second = kept_words(keys.device).unbind()
    one, other = keys.unsqueeze(2).unbind()
    words = torch.bitwise_xor(first, one).mul_(torch.bitwise_xor(second, other))
    radius = words[:, :PAIRS].to(torch.float32).abs_().add_(0.5).mul_(2.0**-31)
    radius.log_().mul_(-2.0).sqrt_()
    if scales is not None:
        radius.mul_(scales.unsqueeze(1))
    angle = words[:, PAIRS:].to(torch.float32).mul_(TURN)
    torch.cos(angle, out=out[:, :PAIRS]).mul_(radius)
    torch.sin(angle, out=out[:, PAIRS:]).mul_(radius)


def kept_words(device: torch.device) -> Tensor:
    """Return `row_words`, sent to a device once; nobody may write to them."""
    if device in _KEPT_WORDS:
        return _KEPT_WORDS[device]
    words = to_device(row_words(), device)
    if type(words) is Tensor:  # else it is imagined, or traced, and belongs to whoever does that
        _KEPT_WORDS[device] = words
    return words


_KEPT_WORDS: dict[torch.device, Tensor] = {}
