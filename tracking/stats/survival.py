"""Times to an event that some runs never reach: Kaplan-Meier, restricted mean, log-rank.

Pure functions; a time is that of the event or, without one, the last at which the run was seen.
They pair nothing: with one horizon for all, differences of restricted times within a block have
more power.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


@dataclass(frozen=True)
class Survival:
    """P(no event by t), a step function: it falls to `survival[i]` at `times[i]`, from 1.

    `times` rise and have an event each.
    """

    times: NDArray[np.float64]
    survival: NDArray[np.float64]


def median_time(times: ArrayLike) -> NDArray[np.float64]:
    """Return the first time by which half of the runs had the event, along the first axis.

    `times` (n_runs, ...) are infinite for the runs that never had it, and the median is if fewer
    than half ever had. Of an even number it is the earlier of the two in the middle, so that it
    is that of the Kaplan-Meier estimate if every run was seen to one horizon. Shape (...).
    """
    t = np.sort(np.asarray(times, dtype=np.float64), axis=0)
    return np.asarray(t[(len(t) - 1) // 2])


def kaplan_meier(times: ArrayLike, reached: ArrayLike) -> Survival:
    """Estimate the survival function of times, (n,), of which `reached` had the event.

    Product of the shares that pass each event time (Kaplan and Meier 1958).
    """
    t, events = _check(times, reached)
    at = np.unique(t[events])
    curve = stats.ecdf(stats.CensoredData.right_censored(t, ~events)).sf
    return Survival(at, curve.evaluate(at))


def restricted_mean(times: ArrayLike, reached: ArrayLike, horizon: float) -> tuple[float, float]:
    """Return the mean time without the event up to `horizon`, and the variance of that mean.

    In the unit of the times and its square. The area under the survival function, with the
    variance of Greenwood's form: sum over event times of (area from there to the horizon)^2
    d / (n (n - d)) (Irwin 1949; Klein and Moeschberger 2003, § 4.5). An event time at which the
    last runs all end adds none. scipy has no restricted mean, and the variance that lifelines
    returns is that of one restricted time.
    """
    t, events = _check(times, reached)
    curve = kaplan_meier(t, events)
    inside = curve.times < horizon
    at, s = curve.times[inside], curve.survival[inside]
    areas = np.cumsum((s * np.diff(at, append=horizon))[::-1])[::-1]  # from each event time on
    mean = float(at[0] + areas[0]) if len(at) else float(horizon)
    d = (t[events] == at[:, None]).sum(axis=1)
    n = (t >= at[:, None]).sum(axis=1)
    left = n > d
    variance = float((areas[left] ** 2 * d[left] / (n[left] * (n[left] - d[left]))).sum())
    return mean, variance


def log_rank_p(
    first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike]
) -> float | None:
    """Return the p-value of two arms, each (times, reached), unpaired (Mantel 1966).

    None if no run had the event, or nothing sets the arms apart.
    """
    arms = [_check(*arm) for arm in (first, second)]
    if not all(len(times) for times, _ in arms):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        test = stats.logrank(*(stats.CensoredData.right_censored(t, ~e) for t, e in arms))
    return float(test.pvalue) if np.isfinite(test.statistic) else None


def _check(times: ArrayLike, reached: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    t, events = np.asarray(times, dtype=np.float64), np.asarray(reached, dtype=np.bool_)
    if t.ndim != 1 or t.shape != events.shape:
        raise ValueError(f"a time and an event each are needed: {t.shape} and {events.shape}")
    if not np.isfinite(t).all() or (t < 0).any():
        raise ValueError(f"times must be finite and not negative: {t.tolist()}")
    return t, events
