"""The appendix of a report: other methods on the numbers that the verdicts were made from.

Performance profiles, scores over all runs, the expected best of k settings (by validation data: no
study may choose by test accuracy), other limits of looks, shares of wins. Scores depend on which
other candidates are compared. Nothing here decides anything: the method that decides was
chosen before the trials.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from jobs.contract.content import canonical_json
from tracking.compare.aggregates import Aggregates, aggregate
from tracking.compare.blocks import Blocks
from tracking.compare.endpoints import UnmeasuredError, curve_metric, last_curve_value
from tracking.compare.result import Comparison, json_ready, named_fields
from tracking.compare.time_to_target import Arm
from tracking.metric import Scale
from tracking.outcomes import Outcome
from tracking.questions.analysis import Question
from tracking.questions.endpoint import Endpoint
from tracking.stats.budgets import expected_best
from tracking.stats.group_sequential import Shape, limits, repeated_p
from tracking.stats.profiles import jackknife_ranges, profile
from tracking.stats.survival import median_time
from tracking.stats.t_tests import Superiority, superiority

LEAST_SETTINGS = 3
SHAPES: tuple[Shape, ...] = ("obrien-fleming", "pocock")


@dataclass(frozen=True)
class CandidateProfile:
    """The profile of one candidate: its exact area, and the range when one seed is left out.

    `ratios` of its median steps to the fewest are by workload; infinite if it has missed the
    target.
    """

    candidate: str
    score: float
    low: float | None
    high: float | None
    ratios: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class BestOfK:
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


@dataclass(frozen=True)
class LimitComparison:
    """A look by two shapes of limits; `declared_shape` is the one that decides.

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
    declared_shape: Shape


@dataclass(frozen=True)
class WinShare:
    """The share of all paired blocks, over all workloads, in which a candidate was ahead."""

    question: Question
    endpoint: Endpoint
    share: Superiority


@dataclass(frozen=True)
class Appendix:
    """All sections of the appendix; `no_profile` is the reason if there is no profile."""

    shapes: tuple[LimitComparison, ...]
    profile: tuple[CandidateProfile, ...]
    no_profile: str
    ahead: tuple[WinShare, ...]
    tried: tuple[BestOfK, ...]
    aggregates: Aggregates

    def to_json(self) -> dict[str, Any]:
        """Return everything, JSON-ready; numbers that do not exist are null."""
        return {name: json_ready(value) for name, value in named_fields(self)}


def compute_appendix(comparison: Comparison, outcomes: Sequence[Outcome]) -> Appendix:
    """Compute the appendix of a comparison from it and the outcomes that it was made of."""
    profiles, why = profile_candidates(comparison.time_to_target.arms, comparison.candidates)
    if comparison.any_open:
        profiles, why = (), "trials of the comparison are still to come"
    return Appendix(
        shapes=tuple(_limit_comparisons(comparison)),
        profile=profiles,
        no_profile=why,
        ahead=tuple(_win_shares(comparison)),
        tried=tuple(_best_of_k(outcomes)),
        aggregates=_aggregate(comparison, outcomes),
    )


def _aggregate(comparison: Comparison, outcomes: Sequence[Outcome]) -> Aggregates:
    if comparison.any_open or not comparison.questions:
        return Aggregates()
    blocks = Blocks(outcomes, units=comparison.units)
    return aggregate(blocks, comparison.questions, comparison.endpoints)


def profile_candidates(
    arms: Sequence[Arm], names: Sequence[str]
) -> tuple[tuple[CandidateProfile, ...], str]:
    """Profile the candidates of these `names` by their median steps, on seeds that all have.

    Return the profiles and, if there are none, the reason.
    """
    cells = {
        (arm.candidate, arm.workload): {
            block: float("inf") if step is None else float(step) for block, step in arm.times
        }
        for arm in arms
    }
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
            [float(median_time([cells[n, w][i] for i in by_workload[w]])) for w in by_workload]
            for n in names
        ]
    )
    if not np.isfinite(times).any():
        return (), "no candidate reached any target in half of its trials"
    of_all = profile(times)
    ranges = _without_a_seed(names, by_workload, cells)
    solved = list(itertools.compress(by_workload, of_all.solved))
    rows = zip(names, of_all.scores, ranges, of_all.ratios.tolist(), strict=True)
    return tuple(
        CandidateProfile(name, score, *between, tuple(zip(solved, ratios, strict=True)))
        for name, score, between, ratios in rows
    ), ""


def _without_a_seed(
    names: Sequence[str],
    by_workload: Mapping[str, Sequence[int]],
    cells: Mapping[tuple[str, str], Mapping[int, float]],
) -> Sequence[tuple[float | None, float | None]]:
    """Return the range of each score if one seed is left out; (None, None) if there is none."""
    everywhere = sorted(set.intersection(*map(set, by_workload.values())))
    times = [[[cells[n, w][block] for w in by_workload] for n in names] for block in everywhere]
    try:
        return jackknife_ranges(times)
    except ValueError:  # one seed alone, or without one of them nothing is solved
        return [(None, None)] * len(names)


def _best_of_k(outcomes: Sequence[Outcome]) -> Iterator[BestOfK]:
    """Yield a row for each workload and optimizer with enough settings, on seeds that all have."""
    groups: dict[tuple[str, str], dict[str, dict[int, Outcome]]] = {}
    for one in outcomes:
        trial = one.trial
        if trial.phase == "compare" and one.has_result:
            setting = canonical_json(dict(trial.candidate.settings))
            tried = groups.setdefault((trial.workload.name, trial.candidate.optimizer), {})
            tried.setdefault(setting, {}).setdefault(trial.block, one)
    for (workload, optimizer), settings in groups.items():
        blocks = set.intersection(*(set(by_block) for by_block in settings.values()))
        if len(settings) < LEAST_SETTINGS or not blocks:
            continue
        trials = [[by_block[block] for block in sorted(blocks)] for by_block in settings.values()]
        content = trials[0][0].trial.workload
        scale = Scale.of(content.metric_spec)
        factor = scale.sign * scale.factor
        try:
            scores = [fmean(factor * last_curve_value(one) for one in same) for same in trials]
        except UnmeasuredError:
            continue
        yield BestOfK(
            workload=workload,
            optimizer=optimizer,
            metric=curve_metric(content),
            in_points=scale.in_points,
            settings=len(settings),
            seeds=len(blocks),
            expected=tuple(scale.sign * best for best in expected_best(scores)),
        )


def _limit_comparisons(comparison: Comparison) -> Iterator[LimitComparison]:
    looks = comparison.looks
    if looks is None or not comparison.ledger:
        return
    strictest = comparison.alpha / comparison.family
    at = {shape: limits(looks.seeds, strictest, shape) for shape in SHAPES}
    least: dict[tuple[Question, Endpoint, Shape], float] = {}
    for one in comparison.ledger:
        keys = {shape: (one.question, one.endpoint, shape) for shape in SHAPES}
        for shape, key in keys.items():
            if one.p is not None:
                p = repeated_p(looks.seeds, one.look, one.p, shape)
                least[key] = min(p, least.get(key, 1.0))
        yield LimitComparison(
            question=one.question,
            endpoint=one.endpoint,
            look=one.look,
            seeds=one.seeds,
            p=one.p,
            limit_obrien_fleming=at["obrien-fleming"][one.look - 1],
            limit_pocock=at["pocock"][one.look - 1],
            p_obrien_fleming=least.get(keys["obrien-fleming"]),
            p_pocock=least.get(keys["pocock"]),
            declared_shape=looks.shape,
        )


def _win_shares(comparison: Comparison) -> Iterator[WinShare]:
    """Yield the share of wins over all pairs of the workloads that were pooled, if answered.

    If workloads differ in how often, Clopper and Pearson's interval of the count is too wide,
    never too narrow (Hoeffding 1956).
    """
    for pooled in comparison.pooled:
        if pooled.verdict is None:
            continue
        differences = [
            value
            for one in comparison.by_workload
            if (one.question, one.endpoint) == (pooled.question, pooled.endpoint)
            and one.workload in pooled.workloads
            for _, value in one.paired
        ]
        if differences and pooled.verdict is not None:
            yield WinShare(pooled.question, pooled.endpoint, superiority(differences))
