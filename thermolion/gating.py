"""What a gate other than the averaged one adds to a step of ThermoLion.

Reduces nothing itself: squares and updates come and go through what `distributed.attach` gives.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from thermolion.gate import GATE_OPTIONS
from thermolion.lists import apply_
from thermolion.spread import accumulate_, spread_factor
from thermolion.state import GATE_SQUARE, MEAN_SQUARE, mean_of
from thermolion.work import Rates, Work, array
from thermolion.zero import is_being_built_inside

_UNATTACHED = (
    "this gate refers to other ranks, and nothing is attached to it: before the first step, call "
    "thermolion.distributed.attach(optimizer, model), with the model in DistributedDataParallel "
    "(or the bare model in a single process)"
)
_UNATTACHED_ZERO = (
    "ZeroRedundancyOptimizer has given this rank a part of the parameters, and its noise has to "
    "know which: before the first step, call thermolion.distributed.attach(optimizer, model) with "
    "the ZeroRedundancyOptimizer and the model in DistributedDataParallel"
)


class Squares(Protocol):
    """Where a gate has mean squares from, and whose they are."""

    def shares(self, samples: Sequence[int]) -> None:
        """Say how many samples each rank has in the pass to come; it holds for one pass."""

    def mean_squares(self, parameters: Sequence[Tensor]) -> tuple[list[Tensor], Sequence[float]]:
        """Return S of each parameter, in the scale of its `grad`, and the samples of each rank."""


class Averages(Protocol):
    """What averages the updates of ranks that gate on their own gradients."""

    def average_(self, updates: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the ranks, which all have the same ones."""


class Gating:
    """The gate of an optimizer, and what it is attached to; `attached` once it is."""

    def __init__(self, gate: str, reference_batch: int | None, replicas_feed: str) -> None:
        self._options = (gate, reference_batch, replicas_feed)
        self.gate, self.reference_batch, self.feed = self._options
        self.inside_zero = is_being_built_inside()
        self.attached = gate == "averaged" and not self.inside_zero
        self.squares: Squares | None = None
        self.own_gradients: Averages | None = None
        self._factor = 1.0
        self._mean_squares: dict[Tensor, Tensor] = {}
        self._updates: list[tuple[list[Tensor], list[Tensor], Rates]] = []

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Raise ValueError for a parameter group that asks for another gate than the optimizer's.

        What is hung on a model serves all of its parameters.
        """
        for name, own in zip(GATE_OPTIONS, self._options, strict=True):
            if group.get(name, own) != own:
                raise ValueError(
                    f"{name} is {group[name]!r} in a group and {own!r} for the optimizer: it is "
                    "one for all groups, give it to the constructor"
                )

    def begin(self, params: Sequence[Tensor]) -> None:
        """Get what the gates of a step of `params`, which have gradients, will need.

        Raises RuntimeError where nothing is attached, or no backward pass has been reduced.
        """
        if not self.attached:
            raise RuntimeError(_UNATTACHED_ZERO if self.inside_zero else _UNATTACHED)
        if self.squares is not None:
            squares, samples = self.squares.mean_squares(params)
            self._mean_squares = dict(zip(params, squares, strict=True))
            self._factor = spread_factor(samples, self.reference_batch)

    def prepare(
        self,
        work: Work,
        params: Sequence[Tensor],
        states: Sequence[dict[str, Any]],
        beta2: float,
    ) -> None:
        """Give the step of `work` the second moment of its gate, or have it hand out its updates.

        `params` and `states` are those that `work` was made of. Call it before the moments of
        `work` take the step's gradients.
        """
        if self.gate == "local":
            work.directions = [torch.empty_like(exp_avg) for exp_avg in work.exp_avgs]
        elif self.gate == "replicas":
            squares = [array(self._mean_squares[param]) for param in params]
            if self.feed == "all":
                self._feed_all(work, states, squares, beta2)
            else:
                self._feed_gate(work, states, squares, beta2)

    def collect(self, work: Work, rates: Rates) -> None:
        """Keep the updates that a step of `work` has handed out, for `finish`."""
        if work.directions is not None:
            self._updates.append((work.params, work.directions, rates))

    def finish(self) -> None:
        """Average the updates over the ranks, and apply them."""
        self._mean_squares.clear()
        updates, self._updates = self._updates, []
        if updates and self.own_gradients is not None:
            self.own_gradients.average_([one for _, each, _ in updates for one in each])
        for params, directions, rates in updates:
            apply_(params, directions, rates)

    def _feed_gate(
        self, work: Work, states: Sequence[dict[str, Any]], squares: list[Tensor], beta2: float
    ) -> None:
        for state in states:
            if GATE_SQUARE not in state:  # at the start, or from a run with another gate
                state[GATE_SQUARE] = state["exp_avg_sq"].clone()
        moments = [array(state[GATE_SQUARE]) for state in states]
        accumulate_(moments, work.grads, squares, self._factor, beta2)
        # A step with fewer samples than the reference (the last of an epoch) may have left single
        # elements negative, and those after it find them so.
        work.gate_sqs = list(torch._foreach_clamp_min(moments, 0))

    def _feed_all(
        self, work: Work, states: Sequence[dict[str, Any]], squares: list[Tensor], beta2: float
    ) -> None:
        """Change v so that the step, which adds (1-β2)·G², makes of it what it is to be.

        β2·(v + w·(S - G²)) + (1-β2)·G² = β2·v + (1-β2)·(G² + k·(S - G²)) for w = k·(1-β2)/β2. So
        every form of the step can do it, and v is clamped where it is used.
        """
        weight = self._factor * (1 - beta2) / beta2
        moments = work.exp_avg_sqs
        torch._foreach_add_(moments, squares, alpha=weight)
        torch._foreach_addcmul_(moments, work.grads, work.grads, -weight)
        torch._foreach_clamp_min_(moments, 0)
        for state in states:
            if MEAN_SQUARE in state:  # follows v by a recursion that knows nothing of this
                state[MEAN_SQUARE].copy_(mean_of(state["exp_avg_sq"]))
