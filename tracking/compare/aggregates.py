"""Scores over all runs of all workloads, beside the verdicts: interquartile means, improvement.

As others report them (rliable); they decide nothing. Seeds are not paired here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tracking.compare.blocks import Blocks
from tracking.metric import Scale
from tracking.questions.analysis import Question
from tracking.questions.endpoint import Endpoint
from tracking.stats.bootstrap import Interval, interquartile_mean, probability_of_improvement

# Of percentiles of fewer runs an interval that is called one at 95% holds the truth far less
# often: 76% of the time for three runs, 84% for five, 93% for twenty.
LEAST_RUNS = 20


@dataclass(frozen=True)
class MiddleScore:
    """The interquartile mean of a candidate over the `runs` of all workloads, by one endpoint.

    In percent, or in the unit of `metric`. Without enough runs there is no interval.
    """

    endpoint: Endpoint
    candidate: str
    metric: str
    in_points: bool
    runs: int
    workloads: int
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Improvement:
    """How likely a run of the candidate is ahead of one of the baseline, over all workloads."""

    question: Question
    endpoint: Endpoint
    runs: int
    workloads: int
    probability: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Aggregates:
    """All of them; of endpoints in several units there is no mean, and `why` says so of each."""

    middle: tuple[MiddleScore, ...] = ()
    improvement: tuple[Improvement, ...] = ()
    why: tuple[tuple[Endpoint, str], ...] = ()


def aggregate(
    blocks: Blocks, questions: Sequence[Question], endpoints: Sequence[Endpoint]
) -> Aggregates:
    """Aggregate the runs of blocks in which every candidate has a result, by each endpoint."""
    names = blocks.candidates

    @cache
    def runs(endpoint: Endpoint) -> dict[str, NDArray[np.float64]]:
        tables = {name: blocks.shared_results(name, endpoint) for name in blocks.workloads}
        return {name: table for name, table in tables.items() if len(table)}

    middle: list[MiddleScore] = []
    why: list[tuple[Endpoint, str]] = []
    for endpoint in endpoints:
        if endpoint.measure == "time_to_target":
            continue  # a time is compared by its factor, which has no mean of its own
        if not runs(endpoint):
            why.append((endpoint, "no block has it of every candidate"))
            continue
        kinds = {_kind(blocks, name, endpoint) for name in runs(endpoint)}
        if len(kinds) > 1:
            why.append((endpoint, "the workloads are measured in different units"))
            continue
        metric, in_points, sign = kinds.pop()
        for place, name in enumerate(names):
            scores = [sign * table[:, place] for table in runs(endpoint).values()]
            count = sum(map(len, scores))
            found = interquartile_mean(scores)
            low, high = _if_enough(found, count)
            middle.append(
                MiddleScore(
                    endpoint, name, metric, in_points, count, len(scores), found.value, low, high
                )
            )
    improvement = []
    for question in questions:
        for endpoint in endpoints:
            tables = list(runs(endpoint).values())
            if not tables:
                continue
            first, second = (names.index(one) for one in (question.candidate, question.baseline))
            found = probability_of_improvement(
                [table[:, first] for table in tables], [table[:, second] for table in tables]
            )
            count = sum(map(len, tables))
            improvement.append(
                Improvement(
                    question,
                    endpoint,
                    count,
                    len(tables),
                    found.value,
                    *_if_enough(found, count),
                )
            )
    return Aggregates(tuple(middle), tuple(improvement), tuple(why))


def _kind(blocks: Blocks, workload: str, endpoint: Endpoint) -> tuple[str, bool, float]:
    """Return what scores have in common that have a mean: metric, if in points, direction."""
    spec = endpoint.read(blocks.workloads[workload])
    metric = spec.metric if endpoint.measure == "auc" else spec.final_metric or spec.metric
    scale = Scale.of(spec)
    return ("" if scale.in_points else metric), scale.in_points, scale.sign


def _if_enough(found: Interval, runs: int) -> tuple[float | None, float | None]:
    return (found.low, found.high) if runs >= LEAST_RUNS else (None, None)
