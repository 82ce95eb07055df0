"""The appendix of a report: other methods on the numbers that the verdicts were made from.

Records, and what goes into them; the arithmetic is elsewhere. Nothing here decides anything: what
decides was chosen before the trials, and whoever picks a method afterwards picks an answer.

The performance profile of a study: from steps to target, workload by workload, to one score.

The arithmetic is in `performance_profile`. Scores depend on who else is compared: a picture, and
no verdict.

What trying more settings of one optimizer is expected to bring, on the data settings are for.

By the last value of the validation curve where a workload has one: choosing by test accuracy is
what no study may do. A picture, and no verdict.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from jobs.contract.trial import canonical_json
from tracking.compare.analysis import Endpoint, Question
from tracking.compare.endpoints import UnmeasuredError, curve_metric, last_of_curve
from tracking.compare.result import Comparison, Difference, json_ready
from tracking.compare.time_to_target import Arm
from tracking.metric import Scale
from tracking.outcomes import Outcome
from tracking.stats.budgets import expected_best
from tracking.stats.group_sequential import Shape, limits, repeated_p
from tracking.stats.profiles import jackknife_ranges, profile
from tracking.stats.t_tests import Superiority, proportion_interval


@dataclass(frozen=True)
class Profiled:
    """The profile of one candidate: its exact area, and the range where one seed is left out.

    `ratios` of its median steps to the fewest are by workload; infinite where it has missed the
    target.
    """

    candidate: str
    score: float
    low: float | None
    high: float | None
    ratios: tuple[tuple[str, float], ...]


def profiled(arms: Sequence[Arm], names: Sequence[str]) -> tuple[tuple[Profiled, ...], str]:
    """Profile the candidates of these `names` by their median steps, on seeds that all have.

    Where there is none, the second part says why.
    """
    cells = {(arm.candidate, arm.workload): _steps(arm) for arm in arms}
    if not cells:
        return (), "no workload has a target"
    by_workload: dict[str, list[int]] = {}
    for workload in dict.fromkeys(name for _, name in cells):
        blocks = [set(cells.get((name, workload), {})) for name in names]
        if shared := sorted(set.intersection(*blocks)):
            by_workload[workload] = shared
    if not by_workload:
        return (), "no seed has a time to target of every candidate"
    times = np.array(
        [
            [
                np.median([cells[name, workload][block] for block in shared])
                for workload, shared in by_workload.items()
            ]
            for name in names
        ]
    )
    if not np.isfinite(times).any():
        return (), "no candidate reached any target in half of its trials"
    found = profile(times)
    ranges = _without_a_seed(names, by_workload, cells)
    solved = [name for name, is_solved in zip(by_workload, found.solved, strict=True) if is_solved]
    return tuple(
        Profiled(name, score, *between, tuple(zip(solved, map(float, ratios), strict=True)))
        for name, score, between, ratios in zip(
            names, found.scores, ranges, found.ratios, strict=True
        )
    ), ""


def _steps(arm: Arm) -> dict[int, float]:
    return {block: float("inf") if step is None else float(step) for block, step in arm.times}


def _without_a_seed(
    names: Sequence[str],
    by_workload: Mapping[str, Sequence[int]],
    cells: Mapping[tuple[str, str], Mapping[int, float]],
) -> Sequence[tuple[float | None, float | None]]:
    everywhere = sorted(set.intersection(*map(set, by_workload.values())))
    times = [[[cells[n, w][block] for w in by_workload] for n in names] for block in everywhere]
    try:
        return jackknife_ranges(times)
    except ValueError:  # one seed alone, or without one of them nothing is solved
        return [(None, None)] * len(names)


LEAST_SETTINGS = 3


@dataclass(frozen=True)
class Tried:
    """The expected best of `k` of the `settings` of an optimizer on one workload, k from 1 on.

    In percent, or in the unit of `metric`; each setting counts by its mean over `seeds`, the same
    for all.
    """

    workload: str
    optimizer: str
    metric: str
    in_points: bool
    settings: int
    seeds: int
    expected: tuple[float, ...]


def tried(outcomes: Sequence[Outcome]) -> tuple[Tried, ...]:
    """Return every optimizer with enough settings on every workload."""
    groups: dict[tuple[str, str], dict[str, dict[int, Outcome]]] = {}
    for one in outcomes:
        trial = one.trial
        if trial.phase == "compare" and one.has_result:
            setting = canonical_json(dict(trial.candidate.hyperparameters))
            of = groups.setdefault((trial.workload.name, trial.candidate.optimizer), {})
            of.setdefault(setting, {}).setdefault(trial.block, one)
    found = [
        _tried(*names, settings)
        for names, settings in groups.items()
        if len(settings) >= LEAST_SETTINGS
    ]
    return tuple(one for one in found if one is not None)


def _tried(
    workload: str, optimizer: str, settings: Mapping[str, Mapping[int, Outcome]]
) -> Tried | None:
    blocks = sorted(set.intersection(*(set(by_block) for by_block in settings.values())))
    if not blocks:
        return None
    of = next(iter(settings.values()))[blocks[0]].trial.workload
    scale = Scale.of(of.metric_spec)
    sign = -1.0 if scale.lower_is_better else 1.0
    try:
        scores = [
            fmean(sign * scale.factor * last_of_curve(by_block[block]) for block in blocks)
            for by_block in settings.values()
        ]
    except UnmeasuredError:
        return None
    expected = [sign * expected_best(scores, k) for k in range(1, len(scores) + 1)]
    return Tried(
        workload,
        optimizer,
        curve_metric(of),
        scale.in_points,
        len(scores),
        len(blocks),
        tuple(expected),
    )


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
