"""When a trial is judged diverged: a metric is not finite, or the model has learnt nothing.

A divergence is the result of a trial, not a failure: the trial is not sent again.
"""

import math
from collections.abc import Mapping

from thermolion.errors import OperationError

# A trial that ends within this of the majority-class rate has learnt nothing.
_LEARNT_NOTHING = 0.01


class Diverged(OperationError):  # noqa: N818 - a result, not a mistake
    """The training has diverged; `metrics` are its final ones, if it still has any.

    `on_all_ranks` if every rank raises it at the same place: none is left waiting for another.
    """

    def __init__(
        self, why: str, metrics: Mapping[str, float] | None = None, *, on_all_ranks: bool = False
    ) -> None:
        super().__init__(why)
        self.metrics = metrics or {}
        self.on_all_ranks = on_all_ranks


def check_finite(metrics: Mapping[str, float], when: str, *, on_all_ranks: bool = False) -> None:
    """Raise Diverged if one of `metrics` is not finite; the message names all that are not.

    `when`, such as `at step 3`, ends the message.
    """
    bad = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        raise Diverged(f"{', '.join(sorted(bad))} {when}", on_all_ranks=on_all_ranks)


def check_learnt(name: str, accuracy: float, chance: float, final: Mapping[str, float]) -> None:
    """Raise Diverged, with the metrics `final`, if an accuracy is no better than chance.

    `accuracy` and `chance`, the rate of the most frequent class, are fractions; every rank has
    the same ones.
    """
    if accuracy <= chance + _LEARNT_NOTHING:
        why = f"{name} {accuracy:.3f} at the end, chance is {chance:.3f}"
        raise Diverged(why, final, on_all_ranks=True)
