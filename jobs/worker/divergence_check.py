"""When a trial has diverged: a metric is not finite, or past the limit that its workload declares.

A divergence is the result of a trial, not a failure: the trial is not sent again. A model that has
learnt nothing has not diverged: it is at chance, which is a result like any other, and flagged.
"""

import math
from collections.abc import Mapping

from jobs.contract.workloads.workload import DivergenceLimit
from thermolion.errors import OperationError

# A trial that ends within this of the majority-class rate has learnt nothing.
_LEARNT_NOTHING = 0.01


class Diverged(OperationError):  # noqa: N818 - a result, not a mistake
    """The training has diverged.

    `on_all_ranks` if every rank raises it at the same place: none is left waiting for another.
    """

    def __init__(self, why: str, *, on_all_ranks: bool = False) -> None:
        super().__init__(why)
        self.on_all_ranks = on_all_ranks


def check_finite(metrics: Mapping[str, float], when: str, *, on_all_ranks: bool = False) -> None:
    """Raise Diverged if one of `metrics` is not finite; the message names all that are not.

    `when`, such as `at step 3`, ends the message.
    """
    bad = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        raise Diverged(f"{', '.join(sorted(bad))} {when}", on_all_ranks=on_all_ranks)


def check_limit(
    limit: DivergenceLimit | None,
    metrics: Mapping[str, float],
    when: str,
    *,
    on_all_ranks: bool = False,
) -> None:
    """Raise Diverged if the metric of a limit is among `metrics`, and past it or not finite."""
    if limit is None or limit.metric not in metrics:
        return
    value = metrics[limit.metric]
    check_finite({limit.metric: value}, when, on_all_ranks=on_all_ranks)
    if why := limit.complaint(value):
        raise Diverged(f"{why}, {when}", on_all_ranks=on_all_ranks)


def describe_chance(name: str, accuracy: float, chance: float) -> str | None:
    """Say that an accuracy is no better than chance at the end; None if it is better.

    `accuracy` and `chance`, the rate of the most frequent class, are fractions.
    """
    if accuracy > chance + _LEARNT_NOTHING:
        return None
    return f"{name} {accuracy:.3f} at the end, chance is {chance:.3f}"
