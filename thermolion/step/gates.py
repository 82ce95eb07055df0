"""The gate over ranks: what `gate="replicas"` and `gate="local"` add to a step of ThermoLion.

Reduces nothing itself: `ddp.attach` supplies what reduces squares and updates.

The second moment at a reference batch follows from the spread of the ranks' gradients. A batch of
N samples is shared out, n_i to rank i. With G the mean gradient of the batch, μ_i of a share, and
S = Σ n_i/N·μ_i², the expectation of S - G² is the variance of a sample's gradient times (W - 1)/N,
for W ranks that have samples. So E[g_b²], for the mean gradient g_b of any batch b, is that of
G² + k·(S - G²) with k = (N/b - 1)/(W - 1), without bias.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from thermolion.registry import GATE_OPTIONS
from thermolion.step.foreach import apply_
from thermolion.step.sharding import is_being_built_inside
from thermolion.step.state import (
    GATE_SQUARE,
    MEAN_SQUARE,
    Hyper,
    StepTensors,
    compute_mean,
    to_array,
)


def check_shares(samples: Sequence[int], world_size: int) -> None:
    """Raise ValueError unless `samples` has a whole number for each rank, not all of them 0."""
    whole = all(isinstance(count, int) and count >= 0 for count in samples)
    if len(samples) != world_size or not whole or sum(samples) == 0:
        raise ValueError(
            f"samples is {list(samples)!r}, it must be {world_size} whole numbers, one for each "
            "rank and not all of them 0"
        )


def rank_weight(samples: Sequence[float], rank: int) -> float:
    """Return what a rank multiplies its squared gradient by, so that the sum over ranks is S.

    The gradient of a rank is that of its summed loss times world size / N: its mean over ranks
    is G. With equal shares the weight is 1 / world size; without samples it is 0.
    """
    share = samples[rank]
    return sum(samples) / (len(samples) ** 2 * share) if share else 0.0


def spread_factor(samples: Sequence[float], reference_batch: int | None) -> float:
    """Return k of G² + k·(S - G²), the second moment at a batch of `reference_batch` samples.

    None stands for the share of one rank, for which k is 1. If one rank has all samples, nothing
    is known of their spread: k is 0, and the second moment that of the whole batch.
    """
    if reference_batch is None:
        return 1.0
    sharing = sum(count > 0 for count in samples)
    return (sum(samples) / reference_batch - 1) / (sharing - 1) if sharing > 1 else 0.0


def accumulate_(
    moments: list[Tensor],
    gradients: list[Tensor],
    mean_squares: list[Tensor],
    factor: float,
    beta2: float,
) -> None:
    """Decay running second moments and add (1 - β2)·(G² + k·(S - G²)), in place.

    `gradients` are G, `mean_squares` S, `factor` is k; no tensor of them all is empty. A reference
    above the global batch (k < 0) may turn single elements negative: they are clamped where they
    are used, not here, because the mean over steps of clamped values would be too large.
    """
    weight = 1 - beta2
    torch._foreach_mul_(moments, beta2)
    if factor != 1:
        torch._foreach_addcmul_(moments, gradients, gradients, weight * (1 - factor))
    if factor != 0:
        torch._foreach_add_(moments, mean_squares, alpha=weight * factor)


# Those of an optimizer for some of its parameters.
States = Sequence[dict[str, Any]]

_UNATTACHED = (
    "this gate refers to other ranks, and nothing is attached to it: before the first step, call "
    "thermolion.attach(optimizer, model), with the model in DistributedDataParallel "
    "(or the bare model in a single process)"
)
_UNATTACHED_ZERO = (
    "ZeroRedundancyOptimizer has given this rank a part of the parameters, and its noise "
    "depends on which: before the first step, call thermolion.attach(optimizer, model) with "
    "the ZeroRedundancyOptimizer and the model in DistributedDataParallel"
)


class SquareSource(Protocol):
    """The source of the mean squares of a gate, and of the samples they are over."""

    def shares(self, samples: Sequence[int]) -> None:
        """Set how many samples each rank has in the next pass, for that pass alone."""

    def mean_squares(self, parameters: Sequence[Tensor]) -> tuple[list[Tensor], Sequence[float]]:
        """Return S of each parameter, in the scale of its `grad`, and the samples of each rank."""


class UpdateAverage(Protocol):
    """The average over ranks of updates that each rank has gated on its own gradient."""

    def average_(self, updates: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the ranks, which all have the same ones."""


class DistributedGate:
    """The gate of an optimizer and what reduces for it; a gate over ranks has to be attached."""

    def __init__(self, gate: str, reference_batch: int | None, replicas_feed: str) -> None:
        self._options = (gate, reference_batch, replicas_feed)
        self.kind, self.reference_batch, self.feed = self._options
        self.inside_zero = is_being_built_inside()
        self.attached = gate == "averaged" and not self.inside_zero
        self.squares: SquareSource | None = None
        self.local_gradients: UpdateAverage | None = None
        self._factor = 1.0
        self._mean_squares: dict[Tensor, Tensor] = {}
        self._updates: list[tuple[list[Tensor], list[Tensor], Hyper]] = []

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Raise ValueError for a parameter group with another gate than the optimizer's.

        What is registered on a model serves all of its parameters.
        """
        for name, value in zip(GATE_OPTIONS, self._options, strict=True):
            if group.get(name, value) != value:
                raise ValueError(
                    f"{name} is {group[name]!r} in a group and {value!r} for the optimizer: it is "
                    "one for all groups, give it to the constructor"
                )

    def begin(self, params: Sequence[Tensor]) -> None:
        """Fetch what the gate of a step needs; all of `params` have gradients.

        Raises RuntimeError if it is not attached, or if no backward pass has been reduced.
        """
        if not self.attached:
            raise RuntimeError(_UNATTACHED_ZERO if self.inside_zero else _UNATTACHED)
        if self.squares is not None:
            squares, samples = self.squares.mean_squares(params)
            self._mean_squares = dict(zip(params, squares, strict=True))
            factor = spread_factor(samples, self.reference_batch)
            self._factor = max(factor, 0.0) if self.feed == "all" else factor

    def prepare(
        self, tensors: StepTensors, params: Sequence[Tensor], states: States, beta2: float
    ) -> None:
        """Give a step the second moment of its gate, or have it return its updates.

        `tensors` are made of `params` and `states`. Call it before the moments are updated by the
        gradients of the step.
        """
        if self.kind == "local":
            tensors.directions = [torch.empty_like(param) for param in tensors.params]
        elif self.kind == "replicas":
            squares = [to_array(self._mean_squares[param]) for param in params]
            feed = self._feed_all if self.feed == "all" else self._feed_gate
            feed(tensors, states, squares, beta2)

    def collect(self, tensors: StepTensors, hyper: Hyper) -> None:
        """Keep the updates that a step has returned, for `finish`."""
        if tensors.directions is not None:
            self._updates.append((tensors.params, tensors.directions, hyper))

    def finish(self) -> None:
        """Average the updates over the ranks, and apply them."""
        self._mean_squares.clear()
        updates, self._updates = self._updates, []
        if updates and self.local_gradients is not None:
            self.local_gradients.average_([one for _, each, _ in updates for one in each])
        for params, directions, hyper in updates:
            apply_(params, directions, hyper)

    def _feed_gate(
        self, tensors: StepTensors, states: States, squares: list[Tensor], beta2: float
    ) -> None:
        """Update the second moments of the gate alone, and give them to the step, clamped at 0."""
        for state in states:
            if GATE_SQUARE not in state:  # at the start, or from a run with another gate
                state[GATE_SQUARE] = state["exp_avg_sq"].clone()
        moments = [to_array(state[GATE_SQUARE]) for state in states]
        accumulate_(moments, tensors.grads, squares, self._factor, beta2)
        # A step with fewer samples than the reference (the last of an epoch) may have left single
        # elements negative, for several steps.
        tensors.gate_sqs = list(torch._foreach_clamp_min(moments, 0))

    def _feed_all(
        self, tensors: StepTensors, states: States, squares: list[Tensor], beta2: float
    ) -> None:
        """Change v so that the step, which adds (1-β2)·G², leaves it at the reference batch's.

        β2·(v + w·(S - G²)) + (1-β2)·G² = β2·v + (1-β2)·(G² + k·(S - G²)) for w = k·(1-β2)/β2. So
        every form of the step can do it. k is 0 or more, so that v is at least that of G² alone
        (S ≥ G²), and |m|/√v at most `Hyper.bound`, as with the averaged gate. With less than 0 (a
        step of fewer samples than the reference) v could be 0 where m is not.
        """
        weight = self._factor * (1 - beta2) / beta2
        moments = tensors.exp_avg_sqs
        torch._foreach_add_(moments, squares, alpha=weight)
        torch._foreach_addcmul_(moments, tensors.grads, tensors.grads, -weight)
        torch._foreach_clamp_min_(moments, 0)
        for state in states:
            if MEAN_SQUARE in state:  # its recursion follows v without this change
                state[MEAN_SQUARE].copy_(compute_mean(state["exp_avg_sq"]))
