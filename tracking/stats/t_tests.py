"""Estimates of a mean difference between two arms: paired within a block, or pooled over strata.

Pure functions of numbers, in whatever unit; they decide nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

LEVEL = 0.95

# Below this part of the values' size a spread is rounding error, not variation.
_NO_SPREAD = 1e-9

Kind = Literal["estimated", "identical", "degenerate", "undefined"]


@dataclass(frozen=True)
class Estimate:
    """A mean difference and its uncertainty.

    Its fields depend on `kind`: "undefined" (fewer than two differences) has at most a mean;
    "identical" (every difference is exactly zero) and "degenerate" (all are equal, so that nothing
    estimates the error) have a mean without a test; "estimated" has everything. `n` counts
    differences; `sd` (ddof 1) is missing if strata are pooled, each having its own.
    """

    kind: Kind
    n: int
    mean: float | None = None
    sd: float | None = None
    se: float | None = None
    df: float | None = None
    t: float | None = None
    p: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def d_z(self) -> float | None:
        """Cohen's d of paired differences: the mean in units of their standard deviation."""
        return None if self.mean is None or not self.sd else self.mean / self.sd

    @property
    def g_z(self) -> float | None:
        """`d_z` without its small-sample bias (Hedges 1981, the exact factor)."""
        if self.d_z is None or self.df is None:
            return None
        half = self.df / 2
        log_factor = special.gammaln(half) - special.gammaln(half - 0.5) - np.log(half) / 2
        return self.d_z * float(np.exp(log_factor))

    @property
    def one_sided_p(self) -> float | None:
        """The p-value against a mean of zero or less; None if nothing estimates the error."""
        if self.t is None or self.df is None:
            return None
        return float(special.stdtr(self.df, -self.t))

    def equivalence_p(self, margin: float) -> float | None:
        """Test that the mean lies within ±`margin`: the p-value of two one-sided t tests.

        None if nothing estimates the error (Schuirmann 1987).
        """
        if self.mean is None or self.se is None or self.df is None:
            return None
        return float(special.stdtr(self.df, (abs(self.mean) - margin) / self.se))


@dataclass(frozen=True)
class Superiority:
    """How often the candidate was ahead: `wins` of `n` blocks, a tie counts one half."""

    wins: float
    n: int
    probability: float
    low: float
    high: float


def paired_t(candidate: ArrayLike, baseline: ArrayLike) -> Estimate:
    """Estimate the mean of candidate minus baseline by Student's t over pairs.

    Both arguments have shape (n,), paired by position. Raises ValueError for NaN or infinite
    values and for unequal shapes: dropping a pair is a selection, and not this function's to make.
    """
    first, second = _finite(candidate), _finite(baseline)
    if first.shape != second.shape:
        raise ValueError(f"pairs are needed: {first.shape} values against {second.shape}")
    differences = first - second
    n = len(differences)
    if n < 2:
        return Estimate("undefined", n, float(differences[0]) if n else None)
    mean, sd = float(differences.mean()), float(differences.std(ddof=1))
    if not differences.any():
        return Estimate("identical", n, 0.0, sd=0.0)
    size = max(float(np.abs(first).max()), float(np.abs(second).max()))
    if sd < _NO_SPREAD * size:
        return Estimate("degenerate", n, mean, sd=0.0)
    return _student(n, mean, sd, sd / n**0.5, n - 1)


def welch_t(candidate: ArrayLike, baseline: ArrayLike) -> Estimate:
    """Estimate the mean of candidate minus baseline by Welch's t over values without pairs.

    Arguments have shapes (n,) and (m,), drawn independently, with unlike variances (Welch 1947;
    degrees of freedom by Satterthwaite). `n` of the estimate is the smaller of the two numbers.
    Undefined if either is below two. Raises ValueError for NaN and infinite values.
    """
    arms = _finite(candidate), _finite(baseline)
    n = min(map(len, arms))
    if n == 0:
        return Estimate("undefined", n)
    mean = float(arms[0].mean() - arms[1].mean())
    if n < 2:
        return Estimate("undefined", n, mean)
    spreads = [float(arm.std(ddof=1)) for arm in arms]
    if not any(arm.size and (arm != arms[0][0]).any() for arm in arms):
        return Estimate("identical", n, 0.0)
    if max(spreads) < _NO_SPREAD * max(float(np.abs(arm).max()) for arm in arms):
        return Estimate("degenerate", n, mean)
    parts = [spread**2 / len(arm) for spread, arm in zip(spreads, arms, strict=True)]
    freedom = sum(part**2 / (len(arm) - 1) for part, arm in zip(parts, arms, strict=True))
    return _student(n, mean, None, sum(parts) ** 0.5, sum(parts) ** 2 / freedom)


def stratified_t(strata: Sequence[Estimate], groups: Sequence[str] = ()) -> Estimate:
    """Pool paired estimates: the plain average of their means, whatever their sizes.

    `groups` has a label for each of the `strata`, which are independent unless it is the same one.
    The variance of a group's sum is at most the square of the sum of its standard errors, which
    stands for it: without loss if its strata say the same, else with room to spare.

    Every stratum has its own variance; degrees of freedom by Welch and Satterthwaite, so that two
    strata give Welch's two-sample t test of one against the negated other. The strata are taken
    as given: the interval is about new seeds on them, not about other strata. A stratum without
    spread adds its mean and no variance. Undefined if any stratum is; a single one is its own
    answer.
    """
    if len(strata) == 1:
        return strata[0]
    together: dict[object, list[Estimate]] = {}
    for label, stratum in zip(groups or range(len(strata)), strata, strict=True):
        together.setdefault(label, []).append(stratum)
    sizes = [min(one.n for one in group) for group in together.values()]
    n = sum(sizes)
    means = [stratum.mean for stratum in strata if stratum.mean is not None]
    if not strata or any(stratum.kind == "undefined" for stratum in strata):
        return Estimate("undefined", n)
    mean = float(np.mean(means))
    variances = np.array([sum(one.se or 0.0 for one in group) ** 2 for group in together.values()])
    if not variances.any():
        identical = all(stratum.kind == "identical" for stratum in strata)
        return Estimate("identical" if identical else "degenerate", n, mean)
    freedom = np.array([_freedom(group) for group in together.values()])
    df = float(variances.sum() ** 2 / (variances**2 / freedom).sum())
    se = float(np.sqrt(variances.sum())) / len(strata)
    return _student(n, mean, None, se, df)


def _freedom(group: Sequence[Estimate]) -> float:
    """Return the degrees of freedom of a group: the fewest that one of its strata has."""
    return min(one.n - 1 if one.df is None else one.df for one in group)


def at_level(estimate: Estimate, level: float) -> Estimate:
    """Give an estimate the interval of another level; of level 1 there is none."""
    if estimate.mean is None or estimate.se is None or estimate.df is None:
        return estimate
    if level >= 1:
        return replace(estimate, low=None, high=None)
    half_width = float(special.stdtrit(estimate.df, (1 + level) / 2)) * estimate.se
    return replace(estimate, low=estimate.mean - half_width, high=estimate.mean + half_width)


def superiority(differences: ArrayLike) -> Superiority:
    """Estimate P(candidate > baseline) on a block, with the interval of Clopper and Pearson.

    `differences` (n,) are candidate minus baseline. With ties the number of wins may be half an
    integer, for which the interval is the natural continuation of the exact one. Raises
    ValueError without a pair.
    """
    d = _finite(differences)
    n = len(d)
    if n == 0:
        raise ValueError("superiority needs at least one pair")
    wins = float((d > 0).sum() + (d == 0).sum() / 2)
    return Superiority(wins, n, wins / n, *proportion_interval(wins, n))


def proportion_interval(count: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the exact interval of a share of `count` in `n` (Clopper and Pearson 1934)."""
    tail = (1 - level) / 2
    low = float(special.betaincinv(count, n - count + 1, tail)) if count > 0 else 0.0
    high = float(special.betaincinv(count + 1, n - count, 1 - tail)) if count < n else 1.0
    return low, high


def _student(n: int, mean: float, sd: float | None, se: float, df: float) -> Estimate:
    t = mean / se
    p = float(2 * special.stdtr(df, -abs(t)))
    return at_level(Estimate("estimated", n, mean, sd=sd, se=se, df=df, t=t, p=p), LEVEL)


def _finite(values: ArrayLike) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"one value a block is needed, shape (n,), not {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"values must be finite: {array.tolist()}")
    return array
