"""Targets from pilots: what the best baseline reaches, on seeds of no comparison.

After AlgoPerf (Dahl et al. 2023, § 4.3): the median, over the seeds of a pilot, of the best value
of the learning curve, of the best baseline; a target lies a part of the way from chance to it. The
candidates under test have no part in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tracking.compare.endpoints import curve_metric, curve_points
from tracking.metric import Scale
from tracking.outcomes import Outcome


@dataclass(frozen=True)
class Target:
    """A target in the scale of its metric; `value` is None if the pilots show none.

    `reference` is what the `baseline` typically reaches, from `chance`; `n` counts its pilots.
    """

    workload: str
    value: float | None
    reference: float | None
    chance: float | None
    baseline: str | None
    n: int


def derive_targets(pilots: Sequence[Outcome], quantile: float) -> tuple[Target, ...]:
    """Return the target of every workload that was piloted; all pilots have ended."""
    names = dict.fromkeys(one.trial.workload.name for one in pilots)
    return tuple(
        _target(name, [one for one in pilots if one.trial.workload.name == name], quantile)
        for name in names
    )


def _target(name: str, pilots: Sequence[Outcome], quantile: float) -> Target:
    workload = pilots[0].trial.workload
    sign = Scale.of(workload.metric_spec).sign
    chance = _chance(pilots)
    arms: dict[str, list[float]] = {}
    for one in pilots:
        if (best := _best(one, sign, chance)) is not None:
            arms.setdefault(one.trial.candidate.name, []).append(best)
    if not arms or chance is None:
        return Target(name, None, None, chance, None, 0)
    reached = {candidate: median(values) for candidate, values in arms.items()}
    baseline = max(reached, key=lambda candidate: sign * reached[candidate])
    reference = reached[baseline]
    gain = reference - chance
    value = chance + quantile * gain if sign * gain > 0 else None
    return Target(name, value, reference, chance, baseline, len(arms[baseline]))


def _best(one: Outcome, sign: float, chance: float | None) -> float | None:
    """Return the best value of a curve; chance for a run that diverged, None without a value."""
    if one.state == "diverged":
        return chance
    metric = curve_metric(one.trial.workload)
    values = (point.metrics[metric] for point in curve_points(one))
    return max(values, key=lambda value: sign * value, default=None)


def _chance(pilots: Sequence[Outcome]) -> float | None:
    """Return the chance level: as declared, else as logged, else the median of untrained models.

    None if there are no curves.
    """
    spec = pilots[0].trial.workload.metric_spec
    if spec.chance is not None:
        return spec.chance
    logged = [one.started.get("chance", {}).get(spec.metric) for one in pilots]
    known = [value for value in logged if value is not None] or [
        points[0].metrics[spec.metric] for one in pilots if (points := curve_points(one))
    ]
    return median(known) if known else None
