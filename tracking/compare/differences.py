"""Differences between two candidates: estimated on one workload, pooled over them, then judged.

The arithmetic is in `estimates`; here is which numbers go in and what a reader must be warned of.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jobs.contract.trial import Workload
from tracking.compare.analysis import Endpoint, Question
from tracking.compare.blocks import NO_AUC, Blocks
from tracking.compare.endpoints import curve_metric, final_metric
from tracking.compare.interim import Reached
from tracking.compare.result import Difference, upheld, verdict
from tracking.metric import PP, Scale
from tracking.stats.multiplicity import Adjustment
from tracking.stats.power import smallest_detectable
from tracking.stats.sensitivity import Sensitivity, sensitivity
from tracking.stats.t_tests import LEVEL, Estimate, at_level, paired_t, stratified_t, superiority

# The speed of image classification, with and without held-out data.
TRACKS = frozenset({"val_auc", "train_auc"})


@dataclass(frozen=True)
class Tested:
    """The p-values of one difference: two-sided, and of equivalence; None where there is none."""

    p: float | None
    same: float | None

    def least(self, other: "Tested") -> "Tested":
        """Return the smaller ones of two looks."""
        return Tested(_least(self.p, other.p), _least(self.same, other.same))


def _least(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)


def on_workload(
    blocks: Blocks,
    question: Question,
    endpoint: Endpoint,
    workload: str,
    below: int | None = None,
    other_tests: bool = True,
) -> Difference:
    """Estimate a difference on one workload by paired t; not judged yet.

    Of the blocks `below` a number alone, where one is given.
    """
    pairs = blocks.pairs(workload, question.candidate, question.baseline, endpoint, below)
    first, second = pairs.candidate, pairs.baseline
    estimate = paired_t(first, second)
    reading = blocks.workloads[workload].metric_spec
    collapsed = pairs.collapses
    differences = [a - b for a, b in zip(first, second, strict=True)]
    flags = [one.kind for one in blocks.flags_of(workload, pairs.blocks) if one.kind != NO_AUC]
    if pairs.unmatched:
        flags.append(NO_AUC)
    if any(collapsed):
        flags.append("collapse")
    if estimate.kind == "degenerate":
        flags.append("no spread")
    return Difference(
        question=question,
        endpoint=endpoint,
        measure=_measure(blocks, endpoint, workload),
        unit=Scale.of(reading).unit(_metric(blocks.workloads[workload], endpoint)),
        lower_is_better=reading.goal == "min",
        workload=workload,
        estimate=estimate,
        p_adjusted=None,
        equivalence_p=None,
        verdict="not estimable",
        smallest_detectable=None,
        median=statistics.median(differences) if differences else None,
        superiority=superiority(first, second) if differences else None,
        collapsed=collapsed,
        without_collapse=paired_t(*pairs.clean()) if any(collapsed) else None,
        workloads=(workload,),
        workloads_asked=1,
        flags=tuple(dict.fromkeys(flags)),
        paired=tuple(zip(pairs.blocks, differences, strict=True)),
        sensitivity=sensitivity([differences]) if other_tests else None,
    )


def pooled(
    singles: Sequence[Difference], reached: Reached | None = None, alpha: float = 1 - LEVEL
) -> Difference:
    """Pool the differences of one question and endpoint over workloads; not judged yet.

    Workloads with fewer than two blocks cannot take part: they are left out, and the flag
    "partial" says so. Nothing is pooled over workloads of unlike units or directions. With looks,
    the interval is that of the look that was `reached`, so that it holds over all of them.
    """
    if len({(one.unit, one.lower_is_better) for one in singles}) > 1:
        return replace(_unpooled(singles), reached=reached)
    usable = [one for one in singles if one.estimate.kind != "undefined"]
    collapsed = _collapsed(singles)
    estimate = stratified_t([one.estimate for one in usable])
    without = _without_collapse(usable) if any(collapsed) else None
    if reached is not None:
        level = 1 - reached.limit(alpha)
        estimate, without = at_level(estimate, level), without and at_level(without, level)
    first, is_alone = singles[0], len(singles) == 1
    return replace(
        first,
        measure=_mixed({one.measure for one in singles}, first.endpoint),
        workload=None,
        estimate=estimate,
        median=first.median if is_alone else None,
        superiority=first.superiority if is_alone else None,
        collapsed=collapsed,
        without_collapse=without,
        workloads=tuple(one.workload for one in usable if one.workload is not None),
        workloads_asked=len(singles),
        flags=_pooled_flags(singles, usable),
        paired=(),
        sensitivity=_pooled_sensitivity(usable),
        reached=reached,
    )


def _unpooled(singles: Sequence[Difference]) -> Difference:
    """Return the pooled answer that there is none: numbers of unlike meaning have no average."""
    return replace(
        singles[0],
        measure=_mixed({one.measure for one in singles}, singles[0].endpoint),
        unit="mixed",
        lower_is_better=False,
        workload=None,
        estimate=Estimate("undefined", sum(one.estimate.n for one in singles)),
        median=None,
        superiority=None,
        collapsed=_collapsed(singles),
        without_collapse=None,
        workloads=(),
        workloads_asked=len(singles),
        flags=("mixed units",),
        paired=(),
        sensitivity=None,
    )


def _collapsed(singles: Sequence[Difference]) -> tuple[int, int]:
    """Count the diverged trials of candidate and baseline."""
    candidate, baseline = zip(*(one.collapsed for one in singles), strict=True)
    return sum(candidate), sum(baseline)


def _pooled_flags(singles: Sequence[Difference], usable: Sequence[Difference]) -> tuple[str, ...]:
    """Return the flags of all workloads, and those of pooling the `usable` ones of them."""
    flags = [flag for one in singles for flag in one.flags]
    if len(usable) < len(singles):
        flags.append("partial")
    if any(one.estimate.n < (3 if len(usable) > 3 else 5) for one in usable):
        flags.append("few seeds")
    measures = {one.measure for one in singles}
    if len(measures) > 1:
        flags.append("mixed tracks" if measures <= TRACKS else "mixed metrics")
    return tuple(dict.fromkeys(flags))


def _pooled_sensitivity(usable: Sequence[Difference]) -> Sensitivity | None:
    """Run the other tests over the workloads, if they were run on any of them."""
    if not any(one.sensitivity for one in usable):
        return None
    return sensitivity(
        [[value for _, value in one.paired] for one in usable],
        [one.estimate for one in usable],
    )


def _mixed(measures: set[str], endpoint: Endpoint) -> str:
    """Name what several measures have in common."""
    if len(measures) == 1:
        return next(iter(measures))
    if endpoint is Endpoint.FINAL:
        return "final score"
    return "auc" if measures <= TRACKS else "speed (AUC)"


def _without_collapse(usable: Sequence[Difference]) -> Estimate:
    """Pool what the clean blocks say, over the workloads that have enough of them."""
    clean = [one.without_collapse or one.estimate for one in usable]
    return stratified_t([one for one in clean if one.kind != "undefined"])


def judge(
    differences: Sequence[Difference],
    adjust: Adjustment,
    rope_pp: float,
    alpha: float,
    detectable_alpha: float,
    before: Sequence[Tested] = (),
    unanswered: int = 0,
) -> tuple[Difference, ...]:
    """Give every difference its adjusted p-values and its verdict.

    The two-sided tests and the tests of equivalence are adjusted as a family each. A verdict that
    only collapsed trials carry is undecided. `detectable_alpha` is the level at which the smallest
    detectable difference is asked for. `before` has what earlier looks have found, for each
    difference; `unanswered` tests of the family have no difference here, and count all the same.
    """
    remaining = [one.without_collapse or one.estimate for one in differences]
    found = [tested(one, one.estimate, rope_pp) for one in differences]
    if before:
        found = [now.least(then) for now, then in zip(found, before, strict=True)]
    clean = [tested(one, left, rope_pp) for one, left in zip(differences, remaining, strict=True)]
    of_all, of_clean = (_adjusted(each, adjust, unanswered) for each in (found, clean))
    return tuple(
        _judged(one, raw, adjusted, left, alpha, detectable_alpha)
        for one, raw, adjusted, left in zip(differences, found, of_all, of_clean, strict=True)
    )


def tested(one: Difference, estimate: Estimate, rope_pp: float) -> Tested:
    """Return the p-values of a difference before any adjustment for other ones.

    The margin is one of percentage points; no other unit has one.
    """
    p = estimate.p
    same = estimate.equivalence_p(rope_pp) if one.unit == PP else None
    reached = one.reached
    if reached is None:
        return Tested(p, same)
    return Tested(
        None if p is None else reached.p(p), None if same is None else reached.one_sided_p(same)
    )


def _adjusted(found: Sequence[Tested], adjust: Adjustment, unanswered: int) -> list[Tested]:
    rest = [None] * unanswered
    p_values = adjust([*(one.p for one in found), *rest])
    equivalence = adjust([*(one.same for one in found), *rest])
    return [Tested(*pair) for pair in zip(p_values, equivalence, strict=True)][: len(found)]


def _judged(
    one: Difference,
    raw: Tested,
    adjusted: Tested,
    clean: Tested,
    alpha: float,
    detectable_alpha: float,
) -> Difference:
    estimate, flags = one.estimate, one.flags
    word = verdict(estimate, adjusted.p, adjusted.same, alpha)
    # An arm that fails in every block where the other never does needs no clean block to lose.
    total = estimate.n > 0 and sorted(one.collapsed) == [0, estimate.n]
    doubtful = one.without_collapse is not None and not total
    left = one.without_collapse or estimate
    if doubtful and not upheld(word, left, clean.p, clean.same, alpha):
        word, flags = "undecided", (*flags, "rests on collapse")
    decided = word in ("better", "worse") and one.workload is None
    if decided and one.sensitivity and one.sensitivity.contradicts(estimate.p, alpha):
        flags = (*flags, "sign-flip disagrees")
    detectable = (
        None
        if estimate.se is None or estimate.df is None or detectable_alpha <= 0
        else smallest_detectable(estimate.se, estimate.df, detectable_alpha)
    )
    return replace(
        one,
        p_valid=raw.p,
        p_adjusted=adjusted.p,
        equivalence_p=adjusted.same,
        verdict=word,
        smallest_detectable=detectable,
        flags=flags,
    )


def _measure(blocks: Blocks, endpoint: Endpoint, workload: str) -> str:
    of = blocks.workloads[workload]
    metric, is_planned = _metric(of, endpoint), of.has_planned_curve
    if endpoint is Endpoint.FINAL:
        return f"final_{metric}" if is_planned else f"final {metric}"
    if is_planned:
        return metric.removesuffix("_accuracy") + "_auc"
    return f"speed (AUC of {metric})"


def _metric(workload: Workload, endpoint: Endpoint) -> str:
    is_final = endpoint is Endpoint.FINAL
    return final_metric(workload) if is_final else curve_metric(workload)
