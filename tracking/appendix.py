"""The appendix of a report: other methods on the numbers that the verdicts were made from.

Records, and what goes into them; the arithmetic is elsewhere. Nothing here decides anything: what
decides was chosen before the trials, and whoever picks a method afterwards picks an answer.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracking.comparison import Comparison, Difference, json_ready
from tracking.estimates import Superiority, proportion_interval
from tracking.outcomes import Outcome
from tracking.profiled import Profiled, profiled
from tracking.question import Endpoint, Question
from tracking.sequential import Shape, limits, repeated_p
from tracking.settings import Tried, tried

SHAPES: tuple[Shape, ...] = ("obrien-fleming", "pocock")


@dataclass(frozen=True)
class Shapes:
    """A look as two manners of limits would have had it; `agreed` names the one that counts.

    The limits are for p at Holm's strictest step; the p-values are the least repeated ones so far.
    """

    question: Question
    endpoint: Endpoint
    look: int
    seeds: int
    p: float | None
    limit_obrien_fleming: float
    limit_pocock: float
    p_obrien_fleming: float | None
    p_pocock: float | None
    agreed: Shape


@dataclass(frozen=True)
class Ahead:
    """In what share of all paired blocks, over all workloads, a candidate was ahead."""

    question: Question
    endpoint: Endpoint
    share: Superiority


@dataclass(frozen=True)
class Appendix:
    """Everything; `no_profile` says why there is none."""

    shapes: tuple[Shapes, ...]
    profile: tuple[Profiled, ...]
    no_profile: str
    ahead: tuple[Ahead, ...]
    tried: tuple[Tried, ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything, JSON-ready; numbers that do not exist are null."""
        record: dict[str, Any] = json_ready(dataclasses.asdict(self))
        return record


def appendix(comparison: Comparison, outcomes: Sequence[Outcome]) -> Appendix:
    """Work out the appendix of a comparison and the outcomes that it was made of."""
    profiles, why = profiled(comparison.time_to_target.arms, comparison.candidates)
    return Appendix(
        shapes=_shapes(comparison),
        profile=profiles,
        no_profile=why,
        ahead=tuple(row for one in comparison.pooled for row in _ahead(comparison, one)),
        tried=tried(outcomes),
    )


def _singles(comparison: Comparison, pooled: Difference) -> list[Difference]:
    return [
        one
        for one in comparison.by_workload
        if (one.question, one.endpoint) == (pooled.question, pooled.endpoint)
        and one.workload in pooled.workloads
    ]


def _shapes(comparison: Comparison) -> tuple[Shapes, ...]:
    looks = comparison.looks
    if looks is None or not comparison.ledger:
        return ()
    strictest = comparison.alpha / comparison.family
    at = {shape: limits(looks.seeds, strictest, shape) for shape in SHAPES}
    least: dict[tuple[Question, Endpoint, Shape], float] = {}
    rows = []
    for one in comparison.ledger:
        said: list[float | None] = []
        for shape in SHAPES:
            key = one.question, one.endpoint, shape
            if one.p is not None:
                now = repeated_p(looks.seeds, one.look, one.p, shape)
                least[key] = min(now, least.get(key, 1.0))
            said.append(least.get(key))
        rows.append(
            Shapes(
                question=one.question,
                endpoint=one.endpoint,
                look=one.look,
                seeds=one.seeds,
                p=one.p,
                limit_obrien_fleming=at["obrien-fleming"][one.look - 1],
                limit_pocock=at["pocock"][one.look - 1],
                p_obrien_fleming=said[0],
                p_pocock=said[1],
                agreed=looks.shape,
            )
        )
    return tuple(rows)


def _ahead(comparison: Comparison, pooled: Difference) -> list[Ahead]:
    """Count over all pairs.

    Where workloads differ in how often, Clopper and Pearson's interval of the count is too wide,
    never too narrow (Hoeffding 1956).
    """
    d = [value for one in _singles(comparison, pooled) for _, value in one.paired]
    if not d:
        return []
    wins, n = sum(value > 0 for value in d) + sum(value == 0 for value in d) / 2, len(d)
    share = Superiority(wins, n, wins / n, *proportion_interval(wins, n))
    return [Ahead(pooled.question, pooled.endpoint, share)]
