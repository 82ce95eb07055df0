"""Differences between two candidates: estimated on one workload, pooled over several, judged.

Chooses the numbers that `tracking.stats` estimates from, and flags what a reader must know.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tracking.compare.analysis import MIXED_UNITS, Endpoint, Margins, Question
from tracking.compare.blocks import NO_AUC, Blocks, Pair
from tracking.compare.endpoints import curve_metric, final_metric
from tracking.compare.interim import Look
from tracking.compare.result import Difference, verdict
from tracking.metric import Scale
from tracking.stats.multiplicity import Adjustment
from tracking.stats.power import smallest_detectable
from tracking.stats.sensitivity import sensitivity
from tracking.stats.t_tests import Estimate, at_level, paired_t, stratified_t, superiority

# The speed of image classification, with and without held-out data.
TRACKS = frozenset({"val_auc", "train_auc"})


@dataclass(frozen=True)
class PValues:
    """The p-values of one difference: two-sided, and of equivalence; None if there is none."""

    p: float | None = None
    same: float | None = None

    def least(self, other: "PValues") -> "PValues":
        """Return the smaller p-value of each test at two looks."""
        return PValues(_least(self.p, other.p), _least(self.same, other.same))


def _least(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)


def estimate_on_workload(
    blocks: Blocks,
    question: Question,
    endpoint: Endpoint,
    workload: str,
    below: int | None = None,
    other_tests: bool = True,
) -> Difference:
    """Estimate a difference on one workload by paired t; not judged yet.

    If `below` is given, only blocks with lower numbers take part. Without `other_tests` there are
    no tests beside Student's t.
    """
    pairs, unmatched = blocks.pairs(workload, question, endpoint, below)
    content = blocks.workloads[workload]
    scale, is_final = Scale.of(content.metric_spec), endpoint is Endpoint.FINAL
    metric = final_metric(content) if is_final else curve_metric(content)
    if content.has_planned_curve:
        measure = f"final_{metric}" if is_final else metric.removesuffix("_accuracy") + "_auc"
    else:
        measure = f"final {metric}" if is_final else f"speed (AUC of {metric})"
    estimate, differences = _paired_t(pairs), [one.difference for one in pairs]
    used = {(workload, one.block) for one in pairs}
    flags = [
        flag.kind
        for flag in blocks.flags
        if (flag.workload, flag.block) in used and flag.kind != NO_AUC
    ]
    if unmatched:
        flags.append(NO_AUC)
    clean = [one for one in pairs if not any(one.diverged)]
    if len(clean) < len(pairs):
        flags.append("collapse")
    if estimate.kind == "degenerate":
        flags.append("no spread")
    return Difference(
        question=question,
        endpoint=endpoint,
        measure=measure,
        unit=scale.unit(metric),
        lower_is_better=scale.lower_is_better,
        workload=workload,
        estimate=estimate,
        median=statistics.median(differences) if differences else None,
        superiority=superiority(differences) if differences else None,
        divergences=(sum(one.diverged[0] for one in pairs), sum(one.diverged[1] for one in pairs)),
        without_divergence=_paired_t(clean) if len(clean) < len(pairs) else None,
        workloads=(workload,),
        workloads_asked=1,
        flags=tuple(dict.fromkeys(flags)),
        paired=tuple((one.block, one.difference) for one in pairs),
        sensitivity=sensitivity([differences]) if other_tests else None,
    )


def _paired_t(pairs: Sequence[Pair]) -> Estimate:
    return paired_t([one.candidate for one in pairs], [one.baseline for one in pairs])


def pool(singles: Sequence[Difference], reached: Look | None, alpha: float) -> Difference:
    """Pool the differences of one question and endpoint over workloads; not judged yet.

    Workloads with fewer than two blocks cannot take part: they are left out, and the flag
    "partial" says so. Nothing is pooled over workloads of unlike units or directions: numbers of
    unlike meaning have no average. With looks, the interval is that of the look that was `reached`
    at the total level `alpha`, so that it holds over all of them.
    """
    first, is_alone = singles[0], len(singles) == 1
    candidate, baseline = zip(*(one.divergences for one in singles), strict=True)
    together = replace(
        first,
        measure=_common_measure({one.measure for one in singles}, first.endpoint),
        workload=None,
        divergences=(sum(candidate), sum(baseline)),
        median=first.median if is_alone else None,
        superiority=first.superiority if is_alone else None,
        workloads_asked=len(singles),
        paired=(),
        reached=reached,
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
            sensitivity=None,
        )
    usable = [one for one in singles if one.estimate.kind != "undefined"]
    estimates = [one.estimate for one in usable]
    estimate, without = stratified_t(estimates), None
    if any(together.divergences):
        clean = [one.without_divergence or one.estimate for one in usable]
        without = stratified_t([one for one in clean if one.kind != "undefined"])
    if reached is not None:
        level = 1 - reached.limit(alpha)
        estimate, without = at_level(estimate, level), without and at_level(without, level)
    strata = [[value for _, value in one.paired] for one in usable]
    return replace(
        together,
        estimate=estimate,
        without_divergence=without,
        workloads=tuple(one.workload for one in usable if one.workload is not None),
        flags=_pooled_flags(singles, usable),
        sensitivity=sensitivity(strata, estimates)
        if any(one.sensitivity for one in usable)
        else None,
    )


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


def _common_measure(measures: set[str], endpoint: Endpoint) -> str:
    """Return a name for several measures: their own if they are one, else a common one."""
    if len(measures) == 1:
        return next(iter(measures))
    if endpoint is Endpoint.FINAL:
        return "final score"
    return "auc" if measures <= TRACKS else "speed (AUC)"


def judge(
    differences: Sequence[Difference],
    adjust: Adjustment,
    margins: Margins,
    alpha: float,
    detectable_alpha: float,
    before: Sequence[PValues] = (),
    unanswered: int = 0,
) -> tuple[Difference, ...]:
    """Give every difference its adjusted p-values and its verdict.

    The two-sided tests and the tests of equivalence are adjusted as a family each. A verdict
    that does not stand without the blocks of diverged trials is undecided. The smallest
    detectable difference is that at the level `detectable_alpha`. `before` has the least p-values
    of earlier looks, for each difference; `unanswered` tests of the family have no difference
    here, and count all the same.
    """
    valid = [p_values(one, one.estimate, margins) for one in differences]
    if before:
        valid = [now.least(then) for now, then in zip(valid, before, strict=True)]
    clean = [p_values(one, one.without_divergence or one.estimate, margins) for one in differences]
    of_all, of_clean = (_adjust(each, adjust, unanswered) for each in (valid, clean))
    return tuple(
        _judge_one(one, raw, adjusted, left, alpha, detectable_alpha)
        for one, raw, adjusted, left in zip(differences, valid, of_all, of_clean, strict=True)
    )


def p_values(one: Difference, estimate: Estimate, margins: Margins) -> PValues:
    """Return the p-values of a difference before any adjustment for other ones.

    An endpoint without a margin has no test of equivalence.
    """
    p, reached = estimate.p, one.reached
    margin = margins.of(one.endpoint, one.unit)
    same = None if margin is None else estimate.equivalence_p(margin)
    if reached is not None:
        p = None if p is None else reached.p(p)
        same = None if same is None else reached.one_sided_p(same)
    return PValues(p, same)


def _adjust(tests: Sequence[PValues], adjust: Adjustment, unanswered: int) -> list[PValues]:
    family = [*tests, *[PValues()] * unanswered]
    two_sided = adjust([one.p for one in family])
    equivalence = adjust([one.same for one in family])
    return [PValues(*pair) for pair in zip(two_sided, equivalence, strict=True)][: len(tests)]


def _judge_one(
    one: Difference,
    raw: PValues,
    adjusted: PValues,
    clean: PValues,
    alpha: float,
    detectable_alpha: float,
) -> Difference:
    estimate, left, flags = one.estimate, one.without_divergence, one.flags
    word = verdict(estimate, adjusted.p, adjusted.same, alpha)
    # If one arm diverges in every block and the other in none, no clean block is needed.
    if left is not None and sorted(one.divergences) != [0, estimate.n]:
        clean_word = verdict(left, clean.p, clean.same, alpha)
        if word not in ("undecided", "not estimable", clean_word):
            word, flags = "undecided", (*flags, "rests on collapse")
    decided = word in ("better", "worse") and one.workload is None
    if decided and one.sensitivity and one.sensitivity.contradicts(estimate.p, alpha):
        flags = (*flags, "sign-flip disagrees")
    detectable = None
    if estimate.se is not None and estimate.df is not None and detectable_alpha > 0:
        detectable = smallest_detectable(estimate.se, estimate.df, detectable_alpha)
    return replace(
        one,
        p_valid=raw.p,
        p_adjusted=adjusted.p,
        equivalence_p=adjusted.same,
        verdict=word,
        smallest_detectable=detectable,
        flags=flags,
    )
