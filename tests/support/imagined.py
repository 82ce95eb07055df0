"""What a gate asks of other replicas, answered without any: to try it in one process."""

from collections.abc import Sequence
from itertools import cycle

from torch import Tensor

from thermolion import ThermoLion


class _Spread:
    """Mean squares of two replicas: more than the square of their mean, and not by one factor.

    `samples` are theirs in each step, again and again.
    """

    def __init__(self, samples: Sequence[Sequence[float]]) -> None:
        self._samples = cycle(samples)

    def shares(self, samples: Sequence[int]) -> None:
        raise AssertionError(samples)

    def mean_squares(self, parameters: Sequence[Tensor]) -> tuple[list[Tensor], Sequence[float]]:
        grads = [param.grad for param in parameters if param.grad is not None]
        return [grad.square() * (2 + grad.sign()) for grad in grads], next(self._samples)


def attach_to_nobody(
    optimizer: ThermoLion, samples: Sequence[Sequence[float]] = ((8.0, 8.0),)
) -> None:
    """Do what `attach` does, with imagined replicas if the gate refers to them."""
    optimizer.distributed_gate.attached = True
    if optimizer.gate == "replicas":
        optimizer.distributed_gate.squares = _Spread(samples)
