"""Differences between two candidates without pairs: by all trials of each, Welch's t test.

For trials whose seeds pair nothing. What pairs alone can tell (who is ahead how often, the tests
that flip signs) is left out. Judges nothing.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tracking.compare.blocks import NO_AUC, Blocks
from tracking.compare.differences import describe_measure
from tracking.compare.result import Difference
from tracking.questions.analysis import Question
from tracking.questions.endpoint import Endpoint
from tracking.questions.units import LEAST_UNITS, LOST_BASELINE, LOST_CANDIDATE, TOO_FEW_UNITS
from tracking.stats.t_tests import Estimate, at_level, welch_t


@dataclass(frozen=True)
class _Arm:
    """The values of a candidate on a workload, greater is better, and which trials diverged.

    `lost`: a trial has no value for a reason that training can cause.
    """

    values: tuple[float, ...]
    diverged: tuple[bool, ...]
    lost: bool

    @property
    def clean(self) -> list[float]:
        """Return the values of the trials that did not diverge."""
        return [v for v, diverged in zip(self.values, self.diverged, strict=True) if not diverged]


def estimate_unpaired(
    blocks: Blocks, question: Question, endpoint: Endpoint, workload: str, level: float
) -> Difference:
    """Estimate a difference on one workload by Welch's t over all trials; not judged yet.

    Curves that cover other steps than most of the workload are left out.
    """
    results = [
        blocks.trial_values(workload, name, endpoint)
        for name in (question.candidate, question.baseline)
    ]
    spans = Counter(one.span for of in results for one, _ in of.values)
    usual = spans.most_common(1)[0][0] if spans else None
    arms = []
    for of in results:
        used = [(one.value, diverged) for one, diverged in of.values if one.span == usual]
        values, diverged = zip(*used, strict=True) if used else ((), ())
        arms.append(_Arm(values, diverged, of.is_lost))
    measure, unit, lower_is_better = describe_measure(endpoint, blocks.workloads[workload])
    estimate = welch_t(arms[0].values, arms[1].values)
    divergences = sum(arms[0].diverged), sum(arms[1].diverged)
    left_out = any(of.without for of in results) or len(spans) > 1
    return Difference(
        question=question,
        endpoint=endpoint,
        measure=measure,
        unit=unit,
        lower_is_better=lower_is_better,
        workload=workload,
        estimate=at_level(estimate, level),
        median=None,
        superiority=None,
        divergences=divergences,
        without_divergence=at_level(welch_t(arms[0].clean, arms[1].clean), level)
        if any(divergences)
        else None,
        workloads=(workload,),
        workloads_asked=1,
        flags=tuple(_flags(estimate, arms, left_out)),
        paired=(),
        arms=(len(arms[0].values), len(arms[1].values)),
        sensitivity=None,
    )


def _flags(estimate: Estimate, arms: Sequence[_Arm], left_out: bool) -> Iterator[str]:
    if left_out:
        yield NO_AUC
    if any(any(arm.diverged) for arm in arms):
        yield "collapse"
    if estimate.kind == "degenerate":
        yield "no spread"
    for arm, flag in zip(arms, (LOST_CANDIDATE, LOST_BASELINE), strict=True):
        if arm.lost:
            yield flag
    if estimate.n < LEAST_UNITS:
        yield TOO_FEW_UNITS
