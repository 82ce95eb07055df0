"""ThermoLion's step on a CPU: flat pieces that stay in the cache, in scratch that is kept.

The arithmetic is that of `reference`, bit for bit in float32 and float64; the passes over memory
are not. A large tensor is cut into chunks; small ones are strung together to fill one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from thermolion.step import reference
from thermolion.step.exploration import Exploration, in_memory_order, same_layout, wide
from thermolion.step.noise import ROW, NormalRows
from thermolion.step.state import Hyper, StepTensors

# 256 KiB of float32. Two dozen passes over four operands and as many buffers then stay in the
# shared cache, and calling the operations costs a tenth of what they do. A fourth of it fits a
# second-level cache, but the calls cost more than that saves. Twice as much is slower if other
# processes use the cache, too.
CHUNK_ROWS = 64
CHUNK = CHUNK_ROWS * ROW


@dataclass
class _Whole:
    """A tensor in chunks; one that is not dense has none, and is stepped by `reference`."""

    index: int
    params: list[Tensor]
    exp_avgs: list[Tensor]
    exp_avg_sqs: list[Tensor]


@dataclass
class _String:
    """Small tensors that are stepped as one chunk of `length`, and where in it each lies.

    The `new_` tensors, `directions`, `draws` and `noises` are views of scratch; `rows` are theirs
    among the rows of all noise. Most operations are called once for the whole chunk, because for
    small tensors the call costs more than the arithmetic.
    """

    indices: list[int]
    params: list[Tensor]
    exp_avgs: list[Tensor]
    exp_avg_sqs: list[Tensor]
    new_params: list[Tensor]
    new_exp_avgs: list[Tensor]
    new_exp_avg_sqs: list[Tensor]
    directions: list[Tensor]
    rows: Tensor
    draws: list[Tensor]
    noises: list[Tensor]
    length: int


@dataclass
class _Layout:
    """How the tensors of a group are stepped; `places` are their addresses, shapes and strides."""

    places: list[object]
    wholes: list[_Whole]
    strings: list[_String]


class Chunks:
    """Take steps of tensors of one dtype on the CPU; keeps scratch, and views of the tensors.

    The views are rebuilt if the memory of a tensor is not that of the last step.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._buffers = torch.empty((10, CHUNK), dtype=dtype).unbind()
        self._scratches: dict[int, tuple[Tensor, ...]] = {}
        self._wide_noise = torch.empty(CHUNK, dtype=wide(dtype))
        self._noise = NormalRows(CHUNK_ROWS)
        self._layouts: dict[object, _Layout] = {}

    def step(
        self,
        tensors: StepTensors,
        hyper: Hyper,
        exploration: Exploration | None,
        group: object = None,
    ) -> None:
        """Take a step of `tensors`, in place; see `StepTensors` for its optional lists.

        The layout of the tensors is remembered by the name of their `group`.
        """
        layout = self._find_layout(tensors, group)
        numbers = _Numbers(hyper, self._dtype)
        for whole in layout.wholes:
            if whole.params:
                self._step_whole(whole, tensors, numbers, exploration)
            else:
                reference.step_one(tensors, whole.index, hyper, exploration)
        for string in layout.strings:
            self._step_string(string, tensors, numbers, exploration)

    def _step_whole(
        self,
        whole: _Whole,
        tensors: StepTensors,
        numbers: "_Numbers",
        exploration: Exploration | None,
    ) -> None:
        index, like = whole.index, tensors.params[whole.index]
        grads = _cut(tensors.grads[index], like)
        gates = None if tensors.gate_sqs is None else _cut(tensors.gate_sqs[index], like)
        outs = None if tensors.directions is None else _cut_chunks(tensors.directions[index])
        for number, (param, m, v) in enumerate(
            zip(whole.params, whole.exp_avgs, whole.exp_avg_sqs, strict=True)
        ):
            grad = grads[number]
            m.mul_(numbers.beta1).add_(grad, alpha=numbers.gain1)
            v.mul_(numbers.beta2).addcmul_(grad, grad, value=numbers.gain2)
            out = self._scratch(len(m))[3] if outs is None else outs[number]
            gate_sq = None if gates is None else gates[number]
            noise = self._make_whole_noise(index, number, len(m), exploration)
            self._direct(m, v, grad, gate_sq, noise, numbers, out)
            if outs is None:
                if numbers.decay is not None:
                    param.mul_(numbers.decay)
                param.add_(out, alpha=-numbers.lr)

    def _step_string(
        self,
        string: _String,
        tensors: StepTensors,
        numbers: "_Numbers",
        exploration: Exploration | None,
    ) -> None:
        chosen, count = string.indices, string.length
        _, _, _, direction, m, v, g, gate_space, _, space = self._scratch(count)
        grad = torch.cat([tensors.grads[index].reshape(-1) for index in chosen], out=g)
        torch.cat(string.exp_avgs, out=m).mul_(numbers.beta1).add_(grad, alpha=numbers.gain1)
        torch.cat(string.exp_avg_sqs, out=v).mul_(numbers.beta2)
        v.addcmul_(grad, grad, value=numbers.gain2)
        torch._foreach_copy_(string.exp_avgs, string.new_exp_avgs)
        torch._foreach_copy_(string.exp_avg_sqs, string.new_exp_avg_sqs)
        gate_sq = None
        if tensors.gate_sqs is not None:
            gates = [tensors.gate_sqs[index].reshape(-1) for index in chosen]
            gate_sq = torch.cat(gates, out=gate_space)
        noise = None if exploration is None else self._make_string_noise(string, exploration)
        self._direct(m, v, g, gate_sq, noise, numbers, direction)
        if tensors.directions is not None:
            torch._foreach_copy_([tensors.directions[i] for i in chosen], string.directions)
            return
        param = torch.cat(string.params, out=space)
        if numbers.decay is not None:
            param.mul_(numbers.decay)
        param.add_(direction, alpha=-numbers.lr)
        torch._foreach_copy_(string.params, string.new_params)

    def _direct(
        self,
        m: Tensor,
        v: Tensor,
        grad: Tensor,
        gate_sq: Tensor | None,
        noise: Tensor | None,
        numbers: "_Numbers",
        out: Tensor,
    ) -> None:
        """Write the direction of one flat chunk to `out`: that of `reference`, in fewer passes.

        An alignment is 0 or 1, so that products with it are exact, however they are grouped.
        """
        magnitude, gate, aligned, *_ = self._scratch(len(m))
        torch.sqrt(v, out=magnitude).add_(numbers.eps)
        torch.div(m, magnitude, out=magnitude)
        if numbers.bound is not None:
            magnitude.clamp_(-numbers.bound, numbers.bound)
        if gate_sq is None:
            torch.abs(magnitude, out=gate)
        else:
            torch.sqrt(gate_sq, out=gate).add_(numbers.eps)
            torch.div(m, gate, out=gate).abs_()
        gate.tanh_()
        torch.sign(m, out=out)
        torch.mul(out, grad, out=aligned).gt_(numbers.zero)
        out.addcmul_(out, aligned, value=numbers.alignment)
        if noise is not None:
            out.add_(noise)
        magnitude.mul_(numbers.solid_gain).mul_(gate)
        torch.sub(numbers.one, gate, out=gate)
        out.mul_(gate).add_(magnitude)

    def _scratch(self, count: int) -> tuple[Tensor, ...]:
        """Return the buffers cut to a length; kept, because cutting costs as much as using."""
        if count not in self._scratches:
            self._scratches[count] = tuple(buffer[:count] for buffer in self._buffers)
        return self._scratches[count]

    def _make_whole_noise(
        self, index: int, number: int, count: int, exploration: Exploration | None
    ) -> Tensor | None:
        """Return the scaled noise of chunk `number` of a tensor, valid until the next call."""
        if exploration is None:
            return None
        begin = exploration.starts[index] + number * CHUNK_ROWS
        rows = slice(begin, begin - (-count // ROW))
        scales = exploration.row_scales
        if scales is not None:
            filled = self._noise.fill(exploration.keys[:, rows], scales[rows])
            return self._narrow(filled.view(-1)[:count])
        draws = self._noise.fill(exploration.keys[:, rows]).view(-1)[:count]
        return self._wide_noise[:count].copy_(draws).mul_(exploration.scales[index])

    def _make_string_noise(self, string: _String, exploration: Exploration) -> Tensor:
        scales = exploration.row_scales
        keys = exploration.keys[:, string.rows]
        filled = self._noise.fill(keys, None if scales is None else scales[string.rows])
        if scales is not None and filled.numel() == string.length:  # every row is full
            return self._narrow(filled.view(-1))
        torch._foreach_copy_(string.noises, string.draws)
        if scales is None:
            torch._foreach_mul_(string.noises, [exploration.scales[i] for i in string.indices])
        return self._narrow(self._wide_noise[: string.length])

    def _narrow(self, noise: Tensor) -> Tensor:
        if noise.dtype == self._dtype:
            return noise
        return self._scratch(len(noise))[8].copy_(noise)

    def _find_layout(self, tensors: StepTensors, group: object) -> _Layout:
        lists = (tensors.params, tensors.exp_avgs, tensors.exp_avg_sqs)
        places: list[object] = [tensor.data_ptr() for each in lists for tensor in each]
        places += [(param.shape, param.stride()) for param in tensors.params]
        known = self._layouts.get(group)
        if known is not None and known.places == places:
            return known
        wholes: list[_Whole] = []
        small = []
        for index, triple in enumerate(zip(*lists, strict=True)):
            dense = all(same_layout(triple[0], other) for other in triple[1:])
            if dense and triple[0].numel() <= CHUNK // 2 and triple[0].is_contiguous():
                small.append(index)
            else:
                cuts = map(_cut_chunks, triple) if dense else ([], [], [])
                wholes.append(_Whole(index, *cuts))
        rows = [-(-param.numel() // ROW) for param in tensors.params]
        strings = [self._make_string(run, tensors, rows) for run in _group_small(small, rows)]
        self._layouts[group] = _Layout(places, wholes, strings)
        return self._layouts[group]

    def _make_string(self, indices: list[int], tensors: StepTensors, rows: list[int]) -> _String:
        shapes = [tensors.params[index].shape for index in indices]
        mine = [shape.numel() for shape in shapes]
        spans = [torch.arange(sum(rows[:i]), sum(rows[: i + 1])) for i in indices]
        spaces = self._noise.draws[: sum(map(len, spans))].view(-1)
        draws = torch.split(spaces, [len(span) * ROW for span in spans])
        directions, ms, vs, ps = (
            torch.split(self._scratch(sum(mine))[place], mine) for place in (3, 4, 5, 9)
        )
        return _String(
            indices,
            [tensors.params[index].view(-1) for index in indices],
            [tensors.exp_avgs[index].view(-1) for index in indices],
            [tensors.exp_avg_sqs[index].view(-1) for index in indices],
            *(list(ps), list(ms), list(vs)),
            [one.view(shape) for one, shape in zip(directions, shapes, strict=True)],
            torch.cat(spans),
            [draw[:count] for draw, count in zip(draws, mine, strict=True)],
            list(torch.split(self._wide_noise[: sum(mine)], mine)),
            sum(mine),
        )


class _Numbers:
    """The constants of a step, as tensors: torch takes longer to convert a number than to use it.

    Those that torch takes as `alpha` or `value` stay numbers.
    """

    def __init__(self, hyper: Hyper, dtype: torch.dtype) -> None:
        assert not isinstance(hyper.lr, Tensor)
        self.lr = hyper.lr
        self.gain1, self.gain2 = 1 - hyper.beta1, 1 - hyper.beta2
        self.alignment, self.bound = hyper.alignment, hyper.bound(dtype)
        self.beta1, self.beta2, self.eps, self.solid_gain, self.one, self.zero = torch.tensor(
            [hyper.beta1, hyper.beta2, hyper.floor(dtype), hyper.solid_gain, 1.0, 0.0],
            dtype=torch.float64,
        ).unbind()
        decay = torch.tensor(1 - hyper.lr * hyper.weight_decay, dtype=torch.float64)
        self.decay = decay if hyper.weight_decay else None


def _group_small(small: list[int], rows: list[int]) -> list[list[int]]:
    """Return `small` in runs that each fill a chunk; `rows` are those of every tensor."""
    runs: list[list[int]] = []
    left = 0
    for index in small:
        if rows[index] > left or not runs:
            runs.append([])
            left = CHUNK_ROWS
        runs[-1].append(index)
        left -= rows[index]
    return runs


def _cut_chunks(tensor: Tensor) -> list[Tensor]:
    return list(torch.split(in_memory_order(tensor), CHUNK))


def _cut(tensor: Tensor, like: Tensor) -> list[Tensor]:
    """Return the chunks of a tensor in the memory order of another."""
    if not same_layout(tensor, like):
        tensor = torch.empty_like(like).copy_(tensor)
    return _cut_chunks(tensor)
