"""ThermoLion's step on lists of whole tensors, for accelerators: few launches, any layout.

The arithmetic is that of `update`; nothing is read by the host.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from thermolion.step.exploration import Exploration
from thermolion.step.state import Hyper, StepTensors

# Temporaries are five times what is worked on at once; this bounds them.
BUCKET_BYTES = 64 * 2**20


def step(work: StepTensors, rates: Hyper, exploration: Exploration | None) -> None:
    """Take a step of `work`, in place; see `Work` for what else it may be told."""
    for indices in _buckets(work.params):
        _step_bucket(indices, work, rates, exploration)


def _step_bucket(
    indices: list[int], work: StepTensors, rates: Hyper, exploration: Exploration | None
) -> None:
    grads = [work.grads[index] for index in indices]
    ms = [work.exp_avgs[index] for index in indices]
    vs = [work.exp_avg_sqs[index] for index in indices]
    eps = rates.floor(ms[0].dtype)

    torch._foreach_mul_(ms, rates.beta1)
    torch._foreach_add_(ms, grads, alpha=1 - rates.beta1)
    torch._foreach_mul_(vs, rates.beta2)
    torch._foreach_addcmul_(vs, grads, grads, value=1 - rates.beta2)

    magnitudes = _ratios(ms, vs, eps)
    bound = rates.bound(ms[0].dtype)
    if bound is not None:
        torch._foreach_clamp_min_(magnitudes, -bound)
        torch._foreach_clamp_max_(magnitudes, bound)
    if work.gate_sqs is None:
        gates = list(torch._foreach_abs(magnitudes))
    else:
        gates = _ratios(ms, [work.gate_sqs[index] for index in indices], eps)
        torch._foreach_abs_(gates)
    torch._foreach_tanh_(gates)
    directions = list(torch._foreach_sign(ms))
    aligned = torch._foreach_sign(grads)
    torch._foreach_mul_(aligned, directions)
    torch._foreach_clamp_min_(aligned, 0)
    torch._foreach_mul_(aligned, rates.alignment)
    torch._foreach_add_(aligned, 1)
    torch._foreach_mul_(directions, aligned)
    if exploration is not None:
        kicks = [exploration.kick(index, work.exp_avgs[index]) for index in indices]
        torch._foreach_add_(directions, kicks)
    torch._foreach_mul_(magnitudes, rates.solid_gain)
    torch._foreach_mul_(magnitudes, gates)
    torch._foreach_neg_(gates)
    torch._foreach_add_(gates, 1)
    torch._foreach_mul_(directions, gates)
    torch._foreach_add_(directions, magnitudes)

    if work.directions is not None:
        torch._foreach_copy_([work.directions[index] for index in indices], directions)
    else:
        apply_([work.params[index] for index in indices], directions, rates)


def apply_(params: list[Tensor], directions: list[Tensor], rates: Hyper) -> None:
    """Do `update.apply_` for lists; `directions` may be overwritten."""
    if rates.weight_decay:
        torch._foreach_mul_(params, 1 - rates.lr * rates.weight_decay)
    if isinstance(rates.lr, Tensor):
        torch._foreach_mul_(directions, rates.lr.to(directions[0].dtype))
        torch._foreach_sub_(params, directions)
    else:
        torch._foreach_add_(params, directions, alpha=-rates.lr)


def _ratios(ms: list[Tensor], vs: list[Tensor], eps: float) -> list[Tensor]:
    """Return m / (√v + ε)."""
    ratios = torch._foreach_sqrt(vs)
    torch._foreach_add_(ratios, eps)
    return list(torch._foreach_div(ms, ratios))


def _buckets(params: list[Tensor]) -> Iterator[list[int]]:
    """Yield runs of indices whose tensors are small enough together; one tensor may be more."""
    run: list[int] = []
    taken = 0
    for index, param in enumerate(params):
        size = param.numel() * param.element_size()
        if run and taken + size > BUCKET_BYTES:
            yield run
            run, taken = [], 0
        run.append(index)
        taken += size
    if run:
        yield run
