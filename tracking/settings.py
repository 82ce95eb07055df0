"""What trying more settings of one optimizer is expected to bring, on the data settings are for.

By the last value of the validation curve where a workload has one: choosing by test accuracy is
what no study may do. A picture, and no verdict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from jobs.trial import canonical_json
from tracking.budgets import expected_best
from tracking.endpoints import UnmeasuredError, curve_metric, last_of_curve
from tracking.outcomes import Outcome
from tracking.scale import Scale

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
    scale = Scale.of(of.read_as)
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
