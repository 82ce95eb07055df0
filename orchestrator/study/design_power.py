"""The power of a design: units on workloads, tested once or at looks, by the stratified t test.

Standard library alone, for scipy is too slow for `plan`; `tracking.stats` has the tests
themselves. Effects are in sd of the difference of one unit, a block or a search. Against
simulated studies power is good to about 0.01 (`benchmarks/plan_power.py`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist
from typing import Literal

from tracking.questions.analysis import data_sets_needed
from tracking.questions.units import LEAST_UNITS, LEAST_UNITS_EACH

Shape = Literal["obrien-fleming", "pocock"]

ALPHA = 0.05  # two-sided, as the comparison tests
WANTED = 0.8  # the power that a detectable effect has

_LEAST_SHOWN, _MOST_SHOWN = 0.01, 0.99
_NORMAL = NormalDist()
_LARGE_DF = 2000  # above, Student's t is taken for normal
_MOST_NODES = 5000  # of the quadrature over S
_CLOSE = 1e-8  # of probabilities, and of roots relatively
_SHARE_NODES = 12  # of the quadrature over the strata's shares of the variance
_SHARE_SDS = 5.0  # how far it goes

# By looks:
_NODES = 6  # for each standard deviation of an increment, on either side of the middle
_FEWEST, _MOST = 24, 96
_LOOKS_CLOSE = 3e-4  # of powers, and of effects relatively
_FARTHEST = 8.0  # standard deviations: farther out, the chance to cross is nothing


def power(effect: float, n: int, strata: int = 1, alpha: float = ALPHA) -> float:
    """Return P(reject) for a mean of `effect` sd of a unit, `n` units on each of some strata.

    The two-sided stratified t test, by Welch's and Satterthwaite's degrees of freedom, if all
    strata have one spread. The sum of the strata's variances is independent of their shares of
    it, on which alone the degrees of freedom depend: so the power is that of the noncentral t
    distribution with all strata's degrees of freedom, at the critical value of Welch's, averaged
    over these.
    """
    noncentrality, pooled = effect * math.sqrt(n * strata), strata * (n - 1)
    return sum(
        weight * _beyond(_critical(df, alpha), noncentrality, pooled)
        for df, weight in _welch_df(n, strata)
    )


def detectable(n: int, strata: int = 1, alpha: float = ALPHA) -> float | None:
    """Return the effect, in sd of a unit, that is found with a power of `WANTED`.

    None if nothing estimates the error: with one unit.
    """
    if n < 2:
        return None
    unit = math.sqrt(n * strata)
    root = find_root(lambda x: power(x / unit, n, strata, alpha) - WANTED, 0.0, 4.0, _LOOKS_CLOSE)
    return root / unit


@lru_cache(maxsize=512)
def _welch_df(n: int, strata: int) -> tuple[tuple[float, float], ...]:
    """Return nodes and weights of the degrees of freedom of strata of one spread.

    They are (n - 1) / Q, Q being the sum of the squares of the strata's shares of the variance.
    The shares are Dirichlet's; Q is taken as Beta on (1/strata, 1) with its exact mean and
    variance, which it is for two strata.
    """
    if strata == 1:
        return ((n - 1.0, 1.0),)
    a = (n - 1) / 2
    total = strata * a
    mean = (a + 1) / (total + 1)
    square = a * (a + 1) * strata * ((a + 2) * (a + 3) + (strata - 1) * a * (a + 1))
    variance = square / (total * (total + 1) * (total + 2) * (total + 3)) - mean**2
    least = 1 / strata
    middle, spread = (mean - least) / (1 - least), variance / (1 - least) ** 2
    both = middle * (1 - middle) / spread - 1
    first, second = middle * both, (1 - middle) * both
    # By the angle whose squared sine is Beta's: no end of its density is infinite.
    sd = math.sqrt(spread)
    low, high = (
        math.asin(math.sqrt(min(1.0, max(0.0, middle + way * _SHARE_SDS * sd)))) for way in (-1, 1)
    )
    nodes = []
    for i in range(_SHARE_NODES):
        angle = low + (i + 0.5) * (high - low) / _SHARE_NODES
        log_density = (2 * first - 1) * math.log(math.sin(angle))
        log_density += (2 * second - 1) * math.log(math.cos(angle))
        nodes.append((least + (1 - least) * math.sin(angle) ** 2, log_density))
    highest = max(density for _, density in nodes)
    weights = [math.exp(density - highest) for _, density in nodes]
    return tuple(
        ((n - 1) / q, weight / sum(weights)) for (q, _), weight in zip(nodes, weights, strict=True)
    )


def _beyond(critical: float, noncentrality: float, df: float) -> float:
    """Return P(|T| > critical) of the noncentral t distribution."""
    return _exceeds(critical, noncentrality, df) + _exceeds(critical, -noncentrality, df)


@lru_cache(maxsize=4096)
def _critical(df: float, alpha: float) -> float:
    """Return the t that is exceeded, up or down, with probability `alpha`."""
    return find_root(lambda t: alpha / 2 - _exceeds(t, 0.0, df), 0.0, 4.0)


def _exceeds(t: float, noncentrality: float, df: float) -> float:
    """Return P(T > t) of the noncentral t distribution.

    T > t if Z > t S - noncentrality, S being the root of chi-square / df. The integrand over
    x = log S vanishes at both ends, so the trapezoid rule is as good as any.
    """
    if df > _LARGE_DF:
        return _NORMAL.cdf(noncentrality - t)
    # Where the mass lies: the sd of x is 1 / sqrt(2 df), with a long lower tail if df is small.
    low, high = -18.0 / df - 6.0 / math.sqrt(df), 4.0 / math.sqrt(df)
    finest = 0.45 / max(math.sqrt(2 * df), abs(noncentrality))
    nodes = min(_MOST_NODES, math.ceil((high - low) / finest))
    step = (high - low) / nodes
    log_constant = (df / 2) * math.log(df / 2) - math.lgamma(df / 2) + math.log(2)
    total = 0.0
    for i in range(nodes + 1):
        root = math.exp(low + i * step)
        density = math.exp(log_constant + df * (low + i * step) - df / 2 * root * root)
        total += density * _NORMAL.cdf(noncentrality - t * root)
    return total * step


def find_root(
    rising: Callable[[float], float], low: float, high: float, close: float = _CLOSE
) -> float:
    """Return the zero, above `low`, of a rising function: regula falsi, Illinois variant."""
    while (at_high := rising(high)) < 0:
        low, high = high, 2 * high
    at_low = rising(low)
    side = 0
    for _ in range(60):
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        value = rising(middle)
        if abs(value) < close or high - low < close * high:
            break
        if value < 0:
            low, at_low, at_high = middle, value, at_high / 2 if side < 0 else at_high
            side = -1
        else:
            high, at_high, at_low = middle, value, at_low / 2 if side > 0 else at_low
            side = 1
    return middle


@dataclass(frozen=True)
class Course:
    """The chance that a study decides one test, and the mean number of units it takes."""

    power: float
    units: float


@dataclass(frozen=True)
class Design:
    """Looks at rising numbers of units on each of `strata` workloads of one spread, for one test.

    One look is a test at the end. A look at fewer than five units in all, or than three on a
    workload, gives no word and is passed. Between looks the mean moves like a sum of normal
    increments; at each look its chance to cross is that of the test: the stratified t test, or
    with `wins` the exact test of how many units are won (without ties).
    """

    looks: tuple[int, ...]
    strata: int = 1
    alpha: float = ALPHA
    shape: Shape = "obrien-fleming"
    wins: bool = False

    @property
    def gives_words(self) -> bool:
        """True if the last look can give a word at all."""
        return self._gives_words(self.looks[-1], self.last_level)

    @property
    def last_level(self) -> float:
        """The p-value at or below which the last look decides."""
        return self.alpha if len(self.looks) == 1 else 2 * _NORMAL.cdf(-self._nominal[-1])

    @property
    def _nominal(self) -> tuple[float, ...]:
        return find_bounds(self.looks, self.shape, self.alpha)

    @property
    def fewest_wins(self) -> int | None:
        """The fewest units in all by which a test of wins can decide; None for a test of means."""
        return fewest_wins(self.last_level) if self.wins else None

    def _gives_words(self, n: int, level: float) -> bool:
        if self.wins and n * self.strata < fewest_wins(level):
            return False
        return n >= LEAST_UNITS_EACH and n * self.strata >= LEAST_UNITS

    def power(self, effect: float) -> float:
        """Return the chance of a word if the true mean is `effect` sd of a unit."""
        return self.course(effect).power

    def course(self, effect: float) -> Course:
        """Return what happens if the true mean is `effect` sd of a unit."""
        return _follow(self, effect)

    def detectable(self) -> float | None:
        """Return the effect found with a power of `WANTED`; None if no word is possible."""
        return _detect(self)

    def bounds(self, effect: float) -> list[float]:
        """Return the |z| at which each look stops, as its test and the rule for words have it."""
        bounds = []
        for n, nominal in zip(self.looks, self._nominal, strict=True):
            level = 2 * _NORMAL.cdf(-nominal)
            if self._gives_words(n, level):
                mean = self.drift(effect) * math.sqrt(n * self.strata)
                bounds.append(_bound(self.chance(n, effect, level), mean, nominal))
            else:
                bounds.append(math.inf)
        return bounds

    def chance(self, n: int, effect: float, level: float) -> float:
        """Return the chance of one look alone to decide."""
        if self.wins:
            return power_of_wins(effect, n * self.strata, level)
        return power(effect, n, self.strata, level)

    def drift(self, effect: float) -> float:
        """Return the mean of one unit in sd of what the test adds up."""
        if not self.wins:
            return effect
        won = min(1 - 1e-6, _NORMAL.cdf(effect))
        return (won - 0.5) / math.sqrt(won * (1 - won))


@lru_cache(maxsize=512)
def _follow(design: Design, effect: float) -> Course:
    looks = design.looks
    if not design.gives_words:
        return Course(0.0, looks[-1])
    if len(looks) == 1:
        return Course(design.chance(looks[0], effect, design.alpha), looks[0])
    drifts = [design.drift(effect) * math.sqrt(n * design.strata) for n in looks]
    crossed = _crossed(looks, design.bounds(effect), drifts)
    undecided = [1.0, *(1 - chance for chance in crossed[:-1])]  # before each look
    more = [b - a for a, b in pairwise((0, *looks))]
    return Course(crossed[-1], sum(n * p for n, p in zip(more, undecided, strict=True)))


@lru_cache(maxsize=512)
def _detect(design: Design) -> float | None:
    if not design.gives_words:
        return None
    rough = detectable(design.looks[-1], design.strata, design.last_level) or 0.0
    if len(design.looks) == 1 and not design.wins:
        return rough
    low, high = 0.9 * rough, 1.1 * rough
    if design.power(low) >= WANTED:
        low, high = 0.0, low
    return find_root(lambda x: design.power(x) - WANTED, low, high, _LOOKS_CLOSE)


def format_power(power: float) -> str:
    """Write a power with two digits; 0 is that of a design without words, and none is 1."""
    if 0 < power < _LEAST_SHOWN:
        return f"under {_LEAST_SHOWN}"
    return f"over {_MOST_SHOWN}" if power > _MOST_SHOWN else f"{power:.2f}"


def fewest_wins(alpha: float) -> int:
    """Return the fewest units by which a test of wins reaches a level, if all are won."""
    return data_sets_needed(1, alpha)


@lru_cache(maxsize=512)
def _critical_wins(n: int, alpha: float) -> int:
    """Return the most losses in `n` units without ties at which the exact test decides, or -1."""
    total, losses = 0.0, -1
    while 2 * (total + math.comb(n, losses + 1) / 2**n) <= alpha:
        losses += 1
        total += math.comb(n, losses) / 2**n
    return losses


def power_of_wins(effect: float, n: int, alpha: float) -> float:
    """Return P(reject) of the exact two-sided test of wins for a mean of `effect` sd of a unit."""
    losses, won = _critical_wins(n, alpha), _NORMAL.cdf(effect)
    ways = [math.comb(n, k) for k in range(losses + 1)]
    better = sum(w * won ** (n - k) * (1 - won) ** k for k, w in enumerate(ways))
    worse = sum(w * won**k * (1 - won) ** (n - k) for k, w in enumerate(ways))
    return better + worse


def _bound(chance: float, mean: float, nominal: float) -> float:
    """Return the bound that a normal statistic of some mean crosses with some chance."""
    chance = min(1 - 1e-9, max(1e-15, chance))

    def lacks(bound: float) -> float:
        return chance - _NORMAL.cdf(mean - bound) - _NORMAL.cdf(-mean - bound)

    return find_root(lacks, 0.0, nominal)


@lru_cache
def find_bounds(looks: tuple[int, ...], shape: Shape, alpha: float) -> tuple[float, ...]:
    """Return the |z| that stops the study at each look, for a total level `alpha`."""
    rise = 0.5 if shape == "obrien-fleming" else 0.0

    def bounds(constant: float) -> list[float]:
        return [constant * (looks[-1] / n) ** rise for n in looks]

    least = -_NORMAL.inv_cdf(alpha / 2)  # what the last look would need alone
    none = [0.0] * len(looks)
    constant = find_root(
        lambda more: 1 - _crossed(looks, bounds(least + more), none)[-1] / alpha,
        -1e-3,
        0.3,
        _LOOKS_CLOSE,
    )
    return tuple(bounds(least + constant))


def _crossed(
    looks: Sequence[int], bounds: Sequence[float], drifts: Sequence[float]
) -> list[float]:
    """Return the chance to have crossed by each look if the statistic has these means.

    The density of what has not crossed is integrated from look to look by Simpson's rule
    (Armitage, McPherson and Rowe 1969).
    """
    sums = [drift * math.sqrt(n) for drift, n in zip(drifts, looks, strict=True)]
    inside: list[tuple[float, float]] = [(0.0, 1.0)]  # of the sum so far: place, weight
    crossed, before, mean = [], 0, 0.0
    for n, bound, ahead in zip(looks, bounds, sums, strict=True):
        sd, shift = math.sqrt(n - before), ahead - mean
        factor, scale = 1 / (sd * math.sqrt(2 * math.pi)), -0.5 / (sd * sd)
        half = min(bound, _FARTHEST + abs(ahead) / math.sqrt(n)) * math.sqrt(n)
        density = []
        for x, weight in _simpson(half, sd):
            total = sum(w * math.exp(scale * (x - y - shift) ** 2) for y, w in inside)
            density.append((x, weight * factor * total))
        inside, before, mean = density, n, ahead
        crossed.append(min(1.0, max(0.0, 1 - sum(weight for _, weight in inside))))
    return crossed


def _simpson(half: float, sd: float) -> list[tuple[float, float]]:
    """Return nodes on (-half, half) and weights, close enough for increments of this spread."""
    count = 2 * math.ceil(min(_MOST, max(_FEWEST, _NODES * half / sd)) / 2)
    step = 2 * half / count
    ends = {0, count}
    return [
        (-half + i * step, step / 3 * (1 if i in ends else 4 if i % 2 else 2))
        for i in range(count + 1)
    ]
