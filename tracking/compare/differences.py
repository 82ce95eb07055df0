"""Differences between two candidates: estimated on one workload, or pooled over several.

Chooses the numbers that `tracking.stats` estimates from, and flags what a reader must know. Judges
nothing.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from jobs.contract.workloads.workload import Workload
from tracking.compare.blocks import NO_AUC, UNLIKE_MACHINES, Blocks, Pair, PairedResults
from tracking.compare.endpoints import reads_accuracy
from tracking.compare.result import Difference
from tracking.metric import Scale
from tracking.questions.analysis import MIXED_UNITS, Question
from tracking.questions.endpoint import LOG_FACTOR, Endpoint
from tracking.questions.interim import Look
from tracking.questions.units import (
    FEWER_OF_BASELINE,
    FEWER_OF_CANDIDATE,
    LEAST_UNITS,
    LEAST_UNITS_EACH,
    LOST_BASELINE,
    LOST_CANDIDATE,
    OWN_SEEDS,
    SHARED_SEEDS,
    TOO_FEW_UNITS,
    SeedGroups,
    Units,
    count_units,
)
from tracking.stats.power import smallest_detectable
from tracking.stats.sensitivity import sensitivity
from tracking.stats.t_tests import Estimate, at_level, paired_t, stratified_t, superiority
from tracking.stats.variance_components import Components, estimate_components

# The speed of image classification, with and without held-out data.
TRACKS = frozenset({"val_auc", "train_auc"})

# The flags that are facts of single workloads, and of no answer that is pooled over several.
_OF_SINGLES = frozenset({TOO_FEW_UNITS})
# The flags that say that there are few units.
_OF_NUMBERS = frozenset({TOO_FEW_UNITS, "few seeds", "partial"})


def estimate_on_workload(
    blocks: Blocks,
    question: Question,
    endpoint: Endpoint,
    workload: str,
    results: PairedResults,
    reached: Look | None,
    level: float,
) -> Difference:
    """Estimate a difference on one workload by paired t over its units; not judged yet.

    `results` are the pairs that take part. The interval is one at a `level`; with looks that
    of the look that was `reached`, so that it holds over all of them.
    """
    measure, unit, lower_is_better = describe_measure(endpoint, blocks.workloads[workload])
    pairs = _average_units(results.pairs, blocks.units, question)
    differences = [one.difference for one in pairs]
    clean = [one for one in pairs if not any(one.diverged)]
    estimate = _at_look(_paired_t(pairs), reached, level, endpoint)
    return Difference(
        question=question,
        endpoint=endpoint,
        measure=measure,
        unit=unit,
        lower_is_better=lower_is_better,
        workload=workload,
        estimate=estimate,
        median=statistics.median(differences) if differences else None,
        superiority=superiority(differences) if differences else None,
        divergences=(sum(one.diverged[0] for one in pairs), sum(one.diverged[1] for one in pairs)),
        without_divergence=_at_look(_paired_t(clean), reached, level, endpoint)
        if len(clean) < len(pairs)
        else None,
        workloads=(workload,),
        workloads_asked=1,
        flags=tuple(_single_flags(blocks, workload, endpoint, results, pairs, estimate)),
        paired=tuple((one.block, one.difference) for one in pairs),
        sensitivity=None,
        reached=reached,
        components=_components(results.pairs, blocks.units, question),
        no_value=None if pairs else blocks.explain_no_value(endpoint),
        at_target=_count_at_target(results.pairs)
        if endpoint.measure == "time_to_target"
        else None,
    )


def _count_at_target(pairs: Sequence[Pair]) -> tuple[int, int, int]:
    candidate, baseline = (sum(one.reached[arm] for one in pairs) for arm in (0, 1))
    return candidate, baseline, len(pairs)


def describe_measure(endpoint: Endpoint, workload: Workload) -> tuple[str, str, bool]:
    """Return what an endpoint is on a workload, its unit, and if lower is better."""
    spec = endpoint.read(workload)
    scale, is_time = Scale.of(spec), endpoint.measure == "time_to_target"
    metric = spec.metric if endpoint.measure != "final" else spec.final_metric or spec.metric
    return (
        _name_measure(endpoint, workload, metric),
        LOG_FACTOR if is_time else scale.unit(metric),
        scale.lower_is_better and not is_time,
    )


def _name_measure(endpoint: Endpoint, workload: Workload, metric: str) -> str:
    """Say what an endpoint is on a workload."""
    if not endpoint.is_standard:
        return endpoint.name
    is_final = endpoint.measure == "final"
    if reads_accuracy(workload):
        return f"final_{metric}" if is_final else metric.removesuffix("_accuracy") + "_auc"
    return f"final {metric}" if is_final else f"speed (AUC of {metric})"


def _single_flags(
    blocks: Blocks,
    workload: str,
    endpoint: Endpoint,
    results: PairedResults,
    pairs: Sequence[Pair],
    estimate: Estimate,
) -> Iterator[str]:
    used = {one.block for one in results.pairs}
    kinds = blocks.flag_kinds(workload)
    yield from dict.fromkeys(kind for block, kind in kinds if block in used and kind != NO_AUC)
    if results.unmatched and endpoint.measure == "auc":
        yield NO_AUC
    if results.unlike:
        yield UNLIKE_MACHINES
    candidate, baseline, _ = _count_at_target(results.pairs)
    if candidate < baseline:
        yield FEWER_OF_CANDIDATE
    if baseline < candidate:
        yield FEWER_OF_BASELINE
    if any(any(one.diverged) for one in pairs):
        yield "collapse"
    if estimate.kind == "degenerate":
        yield "no spread"
    for blocks_of_arm, flag in zip(results.lost, (LOST_CANDIDATE, LOST_BASELINE), strict=True):
        if blocks_of_arm:
            yield flag
    if len(pairs) < LEAST_UNITS:
        yield TOO_FEW_UNITS


def _average_units(pairs: Sequence[Pair], units: Units, question: Question) -> Sequence[Pair]:
    """Return one pair a unit: the plain means of its blocks, diverged if any of its trials is."""
    if units.noun(question) == "block":
        return pairs
    return [
        Pair(
            unit,
            statistics.fmean(one.candidate for one in group),
            statistics.fmean(one.baseline for one in group),
            (any(one.diverged[0] for one in group), any(one.diverged[1] for one in group)),
        )
        for unit, group in _by_unit(pairs, units, question).items()
    ]


def _by_unit(
    pairs: Sequence[Pair], units: Units, question: Question
) -> Mapping[int, Sequence[Pair]]:
    groups: dict[int, list[Pair]] = {}
    for one in pairs:
        groups.setdefault(units.number(question, one.block), []).append(one)
    return dict(sorted(groups.items()))


def _components(pairs: Sequence[Pair], units: Units, question: Question) -> Components | None:
    if units.noun(question) == "block":
        return None
    groups = _by_unit(pairs, units, question).values()
    return estimate_components([[one.difference for one in group] for group in groups])


def _paired_t(pairs: Sequence[Pair]) -> Estimate:
    return paired_t([one.candidate for one in pairs], [one.baseline for one in pairs])


def _at_look(
    estimate: Estimate, reached: Look | None, level: float, endpoint: Endpoint
) -> Estimate:
    """Give an estimate its interval at a look; a one-sided one has all of its error below."""
    error = (1 - level) * (2 if endpoint.one_sided else 1)
    found = at_level(estimate, 1 - (error if reached is None else reached.limit(error)))
    if endpoint.one_sided and found.low is not None:
        return replace(found, high=math.inf)
    return found


def pool(
    singles: Sequence[Difference], asked: int, level: float, seeds: SeedGroups = OWN_SEEDS
) -> Difference:
    """Pool the differences of one question and endpoint over workloads; not judged yet.

    `singles` are all of one look, on workloads out of those that were `asked`. Workloads with
    fewer than two units cannot take part: they are left out, and the flag "partial" says so.
    Nothing is pooled over workloads of unlike units or directions: numbers of unlike meaning have
    no average. The interval is as on a single workload. Workloads that share their
    `seeds` are no repetitions of each other.
    """
    first, is_alone = singles[0], len(singles) == 1
    candidate, baseline = zip(*(one.divergences for one in singles), strict=True)
    together = replace(
        first,
        measure=_common_measure({one.measure for one in singles}, first.endpoint),
        workload=None,
        at_target=_add_counts([one.at_target for one in singles if one.at_target is not None]),
        no_value=first.no_value if all(one.no_value for one in singles) else None,
        divergences=(sum(candidate), sum(baseline)),
        median=first.median if is_alone else None,
        superiority=first.superiority if is_alone else None,
        workloads_asked=asked,
        paired=(),
        arms=_sum_arms(singles),
    )
    if len({(one.unit, one.lower_is_better) for one in singles}) > 1:
        return replace(
            together,
            unit=MIXED_UNITS,
            lower_is_better=False,
            estimate=Estimate("undefined", sum(one.estimate.n for one in singles)),
            without_divergence=None,
            workloads=(),
            flags=("mixed units",),
            components=None,
        )
    usable = [one for one in singles if one.estimate.kind != "undefined"]
    groups = seeds.label(usable)
    estimate, without = stratified_t([one.estimate for one in usable], groups), None
    if any(together.divergences):
        clean = [one.without_divergence or one.estimate for one in usable]
        able = [
            (one, of) for one, of in zip(clean, groups, strict=True) if one.kind != "undefined"
        ]
        without = stratified_t([one for one, _ in able], [of for _, of in able])
        without = _at_look(without, first.reached, level, first.endpoint)
    known = [one.components for one in usable if one.components is not None]
    return replace(
        together,
        estimate=_at_look(estimate, first.reached, level, first.endpoint),
        without_divergence=without,
        workloads=tuple(one.workload for one in usable if one.workload is not None),
        flags=_pooled_flags(singles, usable, asked, seeds),
        components=Components.average(known) if known and len(known) == len(usable) else None,
    )


def _add_counts(counts: Sequence[tuple[int, int, int]]) -> tuple[int, int, int] | None:
    if not counts:
        return None
    candidate, baseline, trials = (sum(each) for each in zip(*counts, strict=True))
    return candidate, baseline, trials


def _sum_arms(singles: Sequence[Difference]) -> tuple[int, int] | None:
    arms = [one.arms for one in singles if one.arms is not None]
    return (sum(a for a, _ in arms), sum(b for _, b in arms)) if arms else None


def _pooled_flags(
    singles: Sequence[Difference],
    usable: Sequence[Difference],
    asked: int,
    seeds: SeedGroups,
) -> tuple[str, ...]:
    """Return the flags of all workloads, and those of pooling the `usable` ones of them."""
    flags = [flag for one in singles for flag in one.flags if flag not in _OF_SINGLES]
    if len(usable) < asked:
        flags.append("partial")
    if any(one.estimate.n < (3 if len(usable) > 3 else 5) for one in usable):
        flags.append("few seeds")
    measures = {one.measure for one in singles}
    if len(measures) > 1:
        flags.append("mixed tracks" if measures <= TRACKS else "mixed metrics")
    numbers = [one.estimate.n for one in singles]
    groups = seeds.label(singles)
    if len({*groups}) < len(groups):
        flags.append(SHARED_SEEDS)
    is_few = count_units(numbers, groups) < LEAST_UNITS or min(numbers) < LEAST_UNITS_EACH
    if len(singles) < asked or is_few:
        flags.append(TOO_FEW_UNITS)
    return tuple(dict.fromkeys(flags))


def _common_measure(measures: set[str], endpoint: Endpoint) -> str:
    """Return a name for several measures: their own if they are one, else a common one."""
    if len(measures) == 1:
        return next(iter(measures))
    if endpoint.measure == "final":
        return "final score"
    return "auc" if measures <= TRACKS else "speed (AUC)"


def complete(one: Difference, singles: Sequence[Difference], level: float) -> Difference:
    """Give an answer, made of `singles`, what it takes no part in: other tests, and its power.

    These tests assume no normal distribution. The smallest detectable difference is that at a
    `level`.
    """
    if one.unit == MIXED_UNITS or one.verdict is None:
        return one
    is_pooled, estimate = one.workload is None, one.estimate
    usable = [each for each in singles if not is_pooled or each.estimate.kind != "undefined"]
    strata = [[value for _, value in each.paired] for each in usable]
    detectable = None
    if estimate.se is not None and estimate.df is not None and level > 0:
        detectable = smallest_detectable(estimate.se, estimate.df, level)
    return replace(
        one,
        # These tests take all units as independent, and each as a pair.
        sensitivity=None
        if SHARED_SEEDS in one.flags or one.arms is not None
        else sensitivity(strata, [each.estimate for each in usable]),
        smallest_detectable=detectable,
    )


def keep_counts(one: Difference) -> Difference:
    """Return an answer of which trials are still to come: with its number of units and mean.

    That there are few of them says nothing yet.
    """
    return replace(
        one,
        flags=tuple(flag for flag in one.flags if flag not in _OF_NUMBERS),
        estimate=Estimate("undefined", one.estimate.n, one.estimate.mean),
        verdict=None,
        wins=None,
        median=None,
        superiority=None,
        without_divergence=None,
        sensitivity=None,
        components=None,
    )
