"""The appendix of a report: other methods on the numbers that the verdicts were made from.

Records, and what goes into them; the arithmetic is elsewhere. Nothing here decides anything: what
decides was chosen before the trials, and whoever picks a method afterwards picks an answer.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracking.budgets import decision_costs
from tracking.comparison import Comparison, Difference, json_ready
from tracking.e_process import anytime_p, confidence_sequence, e_process
from tracking.endpoints import Endpoint
from tracking.estimates import Superiority, proportion_interval
from tracking.outcomes import Outcome
from tracking.power import smallest_detectable
from tracking.profiled import Profiled, profiled
from tracking.question import Question
from tracking.sequential import Shape, limits, repeated_p
from tracking.settings import Tried, tried

SHAPES: tuple[Shape, ...] = ("obrien-fleming", "pocock")
_EFFECTS = 11  # of a decision cost curve, from none to what is hardly ever missed
_HARDLY_MISSED = 0.98
_USUAL_LOOKS = (0.3, 0.5, 0.7, 1.0)  # parts of the seeds, for a study that has declared none


@dataclass(frozen=True)
class Evidence:
    """The e-t process of one question and endpoint after `n` seeds, each averaged over workloads.

    `p` holds at whatever time one stops, and so does the interval for the mean difference.
    """

    question: Question
    endpoint: Endpoint
    unit: str
    n: int
    e_value: float
    p: float
    low: float
    high: float


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
class Cost:
    """Power and mean seeds of a design for a true `effect`, in sd of the paired differences."""

    looks: tuple[int, ...]
    shape: Shape | None
    declared: bool
    effect: float
    power: float
    seeds: float


@dataclass(frozen=True)
class Appendix:
    """Everything; `no_profile` says why there is none."""

    evidence: tuple[Evidence, ...]
    shapes: tuple[Shapes, ...]
    profile: tuple[Profiled, ...]
    no_profile: str
    ahead: tuple[Ahead, ...]
    tried: tuple[Tried, ...]
    costs: tuple[Cost, ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything, JSON-ready; numbers that do not exist are null."""
        record: dict[str, Any] = json_ready(dataclasses.asdict(self))
        return record


def appendix(comparison: Comparison, outcomes: Sequence[Outcome]) -> Appendix:
    """Work out the appendix of a comparison and the outcomes that it was made of."""
    asked = [(one, _averaged(comparison, one)) for one in comparison.pooled]
    profiles, why = profiled(comparison.time_to_target.arms, comparison.candidates)
    return Appendix(
        evidence=tuple(row for one, means in asked for row in _evidence(one, means)),
        shapes=_shapes(comparison),
        profile=profiles,
        no_profile=why,
        ahead=tuple(row for one in comparison.pooled for row in _ahead(comparison, one)),
        tried=tried(outcomes),
        costs=_costs(comparison),
    )


def _singles(comparison: Comparison, pooled: Difference) -> list[Difference]:
    return [
        one
        for one in comparison.by_workload
        if (one.question, one.endpoint) == (pooled.question, pooled.endpoint)
        and one.workload in pooled.workloads
    ]


def _averaged(comparison: Comparison, pooled: Difference) -> list[float]:
    """Return the mean over workloads of each block that all of them have, in order."""
    by_block = [dict(one.paired) for one in _singles(comparison, pooled)]
    shared = sorted(set.intersection(*map(set, by_block))) if by_block else []
    return [float(np.mean([of[block] for of in by_block])) for block in shared]


def _evidence(one: Difference, means: Sequence[float]) -> list[Evidence]:
    e_values = e_process(means)
    return [
        Evidence(
            one.question,
            one.endpoint,
            one.unit,
            n,
            e_value,
            anytime_p(e_values[:n]),
            *confidence_sequence(means[:n]),
        )
        for n, e_value in enumerate(e_values, 1)
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


def _costs(comparison: Comparison) -> tuple[Cost, ...]:
    """Return what the design costs, beside the same seeds by other looks; no result enters."""
    planned = [one.planned for one in comparison.summaries]
    declared = comparison.looks
    n = declared.seeds[-1] if declared else max(planned, default=0)
    looks = declared.seeds if declared else tuple(_looks_of(n))
    pooled = any(one.unit != "mixed" for one in comparison.pooled)
    if not comparison.family or not pooled or looks[:1] < (2,):
        return ()
    strata, alpha = len(comparison.workloads), comparison.alpha / comparison.family
    most = smallest_detectable((n * strata) ** -0.5, strata * (n - 1), alpha, _HARDLY_MISSED)
    effects = [float(effect) for effect in np.linspace(0, most, _EFFECTS)]
    agreed, manner = (declared.seeds, declared.shape) if declared else ((n,), None)
    designs: list[tuple[tuple[int, ...], Shape | None]] = [((n,), None)]
    designs += [(looks, shape) for shape in SHAPES if len(looks) > 1]
    return tuple(
        Cost(at, shape, at == agreed and shape == manner, cost.effect, cost.power, cost.seeds)
        for at, shape in designs
        for cost in decision_costs(at, effects, alpha, shape or "obrien-fleming", strata)
    )


def _looks_of(n: int) -> list[int]:
    return sorted({max(2, round(n * part)) for part in _USUAL_LOOKS}) if n > 1 else []
