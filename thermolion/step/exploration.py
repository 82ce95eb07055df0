"""How strongly a step explores, and with which draws: the annealed noise of ThermoLion.

Follows mean(v) by a recursion of scalars, so that no step reads v twice or waits for the host.
The gate weights the noise elsewhere, in each form of the step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from thermolion.step.noise import ROW, row_keys, standard_normal_rows, stream_key
from thermolion.step.sharding import Part, sum_over_parts_
from thermolion.step.transfer import to_device, to_other_device

# Exploration stops once the temperature is this low: after step 458 at a decay of 0.99.
FROZEN = 0.01
# Added to T·mean(v) under the root, so that exploration never has a scale of zero.
NOISE_VARIANCE_FLOOR = 1e-10


def temperature_at(decay: float, step: int) -> float:
    """Return T_t = decay^t, from T_0 = 1; `step` counts from 1."""
    return float(decay**step)


def last_noisy_step(decay: float) -> float:
    """Return the number of the last step that adds noise, infinity if there is no last one."""
    if decay == 1:
        return math.inf
    step = max(0, math.floor(math.log(FROZEN) / math.log(decay)) + 1)
    while step and not explores(temperature_at(decay, step)):
        step -= 1
    return step


def explores(temperature: float) -> bool:
    """Return True if a step at this temperature adds noise."""
    return temperature > FROZEN


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which noise is scaled: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@dataclass
class Exploration:
    """The noise of one step for k tensors: `scales` (k,), and `keys` (2, all rows) of the draws.

    `row_scales` (all rows,), float32, is the scale of each row's tensor; None for float64, whose
    scales may be beyond that and multiply afterwards. `owners` (all rows,) says whose a row is.
    The rows of tensor i are those from `starts[i]` to `starts[i + 1]`; the first of them begins
    `skips[i]` draws before the tensor, if that is a part of a whole.
    """

    scales: Tensor
    keys: Tensor
    starts: list[int]
    skips: list[int]
    row_scales: Tensor | None
    owners: Tensor

    def draw(self, index: int, like: Tensor) -> Tensor:
        """Return the scaled draws of a tensor, of the shape, type and memory layout of `like`."""
        begin, end = self.starts[index], self.starts[index + 1]
        row_scales = None if self.row_scales is None else self.row_scales[begin:end]
        draws = standard_normal_rows(self.keys[:, begin:end], row_scales).flatten()
        scaled = draws[self.skips[index] :][: like.numel()]
        if row_scales is None:
            scaled = scaled.to(self.scales.dtype).mul_(self.scales[index])
        noise = torch.empty_like(like, memory_format=torch.preserve_format)
        in_memory_order(noise).copy_(scaled)
        return noise

    def draw_run(self, indices: Sequence[int], likes: Sequence[Tensor]) -> list[Tensor]:
        """Do `draw` for tensors that follow one another, at once: few operations, the same bits.

        `likes` are of one type.
        """
        begin, end = self.starts[indices[0]], self.starts[indices[-1] + 1]
        row_scales = None if self.row_scales is None else self.row_scales[begin:end]
        draws = standard_normal_rows(self.keys[:, begin:end], row_scales)
        if row_scales is None:
            draws = draws.to(self.scales.dtype)
            draws.mul_(self.scales[self.owners[begin:end]].unsqueeze(1))
        flat = draws.view(-1).to(likes[0].dtype)
        noises = []
        for index, like in zip(indices, likes, strict=True):
            at = (self.starts[index] - begin) * ROW + self.skips[index]
            if is_dense(like):
                noises.append(flat.as_strided(like.shape, like.stride(), at))
            else:
                noises.append(self.draw(index, like))
        return noises


def in_memory_order(tensor: Tensor) -> Tensor:
    """Return a dense tensor as a flat view, in the order in which its elements lie."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    return tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())


def same_layout(one: Tensor, other: Tensor) -> bool:
    """Return True if both are dense, with elements in the same order in memory."""
    if one.is_contiguous() and other.is_contiguous():
        return True
    return one.stride() == other.stride() and is_dense(one)


def is_dense(tensor: Tensor) -> bool:
    """Return True if the elements of a tensor fill its memory, each once, in any order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True


class Rows:
    """Which rows the draws of some tensors take, and from which streams.

    `owners` (rows,) says to which tensor a row belongs, `numbers` (rows,) its place there.
    `identity` is the seed, and the id and number of elements (or the part held) of each tensor:
    what has the same identity has the same rows.
    """

    def __init__(
        self, seed: int, tensors: tuple[tuple[int, int | Part], ...], device: torch.device
    ) -> None:
        self.identity = (seed, tensors)
        self.parts = [
            Part(0, held, held) if isinstance(held, int) else held for _, held in tensors
        ]
        firsts = [part.offset // ROW for part in self.parts]
        ends = [-(-(part.offset + part.count) // ROW) for part in self.parts]
        rows = [end - first for first, end in zip(firsts, ends, strict=True)]
        self.starts = list(accumulate(rows, initial=0))
        self.skips = [part.offset % ROW for part in self.parts]
        owners = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(rows))
        shifts = torch.tensor(firsts) - torch.tensor(self.starts[:-1])
        numbers = torch.arange(self.starts[-1]) + shifts[owners]
        self.owners, self.numbers = to_device(owners, device), to_device(numbers, device)
        counts = [max(1, part.whole) for part in self.parts]
        self.counts = to_device(torch.tensor(counts, dtype=torch.float64), device)
        streams = [stream_key(seed, param_id) for param_id, _ in tensors]
        self.streams = to_device(torch.tensor(streams).T.contiguous(), device)

    def explore(
        self,
        grads: list[Tensor],
        mean_squares: list[Tensor],
        steps: Tensor,
        temperatures: Tensor,
        beta2: float,
    ) -> Exploration:
        """Bring mean(v) of k tensors up to this step's gradients, and return the step's noise.

        `mean_squares` (0-dim) follow mean(v_t) = β2·mean(v_{t-1}) + (1-β2)·mean(g²) in place;
        `steps` (k,) are int64, `temperatures` (k,) float64. A tensor without any gradient so far
        has a scale of zero, and so has one whose mean square has overflowed.
        """
        precise = mean_squares[0].dtype
        norms = torch.stack(torch._foreach_norm(grads, 2, precise))
        before = torch.stack(mean_squares)
        squares = norms.square()
        sum_over_parts_(squares, self.parts)
        squares.div_(self.counts.to(precise))
        means = before.mul(beta2).add_(squares, alpha=1 - beta2)
        torch._foreach_copy_(mean_squares, list(means.unbind()))
        scales = (temperatures.to(precise) * means + NOISE_VARIANCE_FLOOR).sqrt_()
        is_noisy = (means > 0) & (scales < math.inf) & (temperatures > FROZEN)
        scales = torch.where(is_noisy, scales, 0.0)
        keys = row_keys(self.streams, steps, self.owners, self.numbers)
        row_scales = None if precise == torch.float64 else scales[self.owners]
        return Exploration(scales, keys, self.starts, self.skips, row_scales, self.owners)


@dataclass(frozen=True)
class Amp:
    """What a GradScaler leaves to the optimizer: `scale` of the gradients, and `found_inf`.

    Both are tensors of one element; if `found_inf` is not 0, the step is skipped.
    """

    scale: Tensor | None
    found_inf: Tensor

    @classmethod
    def left_to(cls, optimizer: object) -> "Amp | None":
        """Return what a scaler has set on an optimizer before a step, None without a scaler."""
        found_inf = getattr(optimizer, "found_inf", None)
        if found_inf is None:
            return None
        return cls(getattr(optimizer, "grad_scale", None), found_inf)

    def on(self, device: torch.device) -> "Amp":
        """Return the same on the device of the parameters, which may be another than the scaler's.

        No host waits unless they are to be read there; nothing is sent if they are there already.
        """
        scale = None if self.scale is None else to_other_device(self.scale, device)
        return Amp(scale, to_other_device(self.found_inf, device))
