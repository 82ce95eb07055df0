"""ThermoLion's step on lists of whole tensors, for accelerators: few launches, any layout.

The arithmetic is that of `reference`; nothing is read by the host.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from thermolion.step.exploration import Exploration
from thermolion.step.noise import ROW
from thermolion.step.state import Hyper, StepTensors

# Temporaries are five times what is worked on at once; this bounds them.
BUCKET_BYTES = 64 * 2**20


def step(tensors: StepTensors, hyper: Hyper, exploration: Exploration | None) -> None:
    """Take a step of `tensors`, in place; see `StepTensors` for its optional lists."""
    for indices in _buckets(tensors.params, exploration is not None):
        _step_bucket(indices, tensors, hyper, exploration)


def _step_bucket(
    indices: list[int], tensors: StepTensors, hyper: Hyper, exploration: Exploration | None
) -> None:
    grads = [tensors.grads[index] for index in indices]
    ms = [tensors.exp_avgs[index] for index in indices]
    vs = [tensors.exp_avg_sqs[index] for index in indices]
    eps = hyper.floor(ms[0].dtype)

    torch._foreach_mul_(ms, hyper.beta1)
    torch._foreach_add_(ms, grads, alpha=1 - hyper.beta1)
    torch._foreach_mul_(vs, hyper.beta2)
    torch._foreach_addcmul_(vs, grads, grads, value=1 - hyper.beta2)

    magnitudes = _ratios(ms, vs, eps)
    bound = hyper.bound(ms[0].dtype)
    if bound is not None:
        torch._foreach_clamp_min_(magnitudes, -bound)
        torch._foreach_clamp_max_(magnitudes, bound)
    if tensors.gate_sqs is None:
        gates = list(torch._foreach_abs(magnitudes))
    else:
        gates = _ratios(ms, [tensors.gate_sqs[index] for index in indices], eps)
        torch._foreach_abs_(gates)
    torch._foreach_tanh_(gates)
    directions = list(torch._foreach_sign(ms))
    aligned = torch._foreach_sign(grads)
    torch._foreach_mul_(aligned, directions)
    torch._foreach_clamp_min_(aligned, 0)
    torch._foreach_mul_(aligned, hyper.alignment)
    torch._foreach_add_(aligned, 1)
    torch._foreach_mul_(directions, aligned)
    if exploration is not None:
        likes = [tensors.params[index] for index in indices]
        torch._foreach_add_(directions, exploration.draw_run(indices, likes))
    torch._foreach_mul_(magnitudes, hyper.solid_gain)
    torch._foreach_mul_(magnitudes, gates)
    torch._foreach_neg_(gates)
    torch._foreach_add_(gates, 1)
    torch._foreach_mul_(directions, gates)
    torch._foreach_add_(directions, magnitudes)

    if tensors.directions is not None:
        torch._foreach_copy_([tensors.directions[index] for index in indices], directions)
    else:
        apply_([tensors.params[index] for index in indices], directions, hyper)


def apply_(params: list[Tensor], directions: list[Tensor], hyper: Hyper) -> None:
    """Do `reference.apply_` for lists; `directions` may be overwritten."""
    if hyper.weight_decay:
        torch._foreach_mul_(params, 1 - hyper.lr * hyper.weight_decay)
    if isinstance(hyper.lr, Tensor):
        torch._foreach_mul_(directions, hyper.lr.to(directions[0].dtype))
        torch._foreach_sub_(params, directions)
    else:
        torch._foreach_add_(params, directions, alpha=-hyper.lr)


def _ratios(ms: list[Tensor], vs: list[Tensor], eps: float) -> list[Tensor]:
    """Return m / (√v + ε)."""
    ratios = torch._foreach_sqrt(vs)
    torch._foreach_add_(ratios, eps)
    return list(torch._foreach_div(ms, ratios))


def _buckets(params: list[Tensor], has_noise: bool) -> Iterator[list[int]]:
    """Yield runs of indices whose tensors are small enough together; one tensor may be more.

    Noise is made in whole rows of float32, which of small tensors are more than themselves.
    """
    run: list[int] = []
    taken = 0
    for index, param in enumerate(params):
        size = param.numel() * param.element_size()
        if has_noise:
            size = max(size, -(-param.numel() // ROW) * ROW * 4)
        if run and taken + size > BUCKET_BYTES:
            yield run
            run, taken = [], 0
        run.append(index)
        taken += size
    if run:
        yield run
