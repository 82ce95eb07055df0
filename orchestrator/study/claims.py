"""What a study as planned can show: its power, by looks if it has any, and on what data sets.

Standard library alone, for scipy is too slow for `plan`; `tracking.stats.power` and
`tracking.stats.group_sequential` are the same by scipy, for studies that have run. Against
simulated studies power is good to about 0.01.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist
from typing import Literal

from orchestrator.sweep.sweep import Sweep
from tracking.compare.analysis import data_sets_needed

Shape = Literal["obrien-fleming", "pocock"]

ALPHA = 0.05  # two-sided, as the comparison tests
WANTED = 0.8  # the power that a detectable effect has
_HALF = 0.5  # an effect worth naming, in sd of the paired differences

_NORMAL = NormalDist()
_LARGE_DF = 2000  # above, Student's t is taken for normal
_MOST_NODES = 5000  # of the quadrature over S
_CLOSE = 1e-8  # of probabilities, and of roots relatively

# By looks:
_NODES = 6  # for each standard deviation of an increment, on either side of the middle
_FEWEST, _MOST = 24, 96
_LOOKS_CLOSE = 1e-4  # of powers, and of effects relatively
_FARTHEST = 8.0  # standard deviations: farther out, the chance to cross is nothing


def power(effect: float, n: int, df: int, alpha: float = ALPHA) -> float:
    """Return P(reject) for a true mean of `effect` sd of the differences, of which there are `n`.

    Two-sided t test with `df` degrees of freedom; `df` is n - 1 for one stratum and n less the
    number of strata if all strata have one spread.
    """
    return _power(effect * math.sqrt(n), df, alpha)


def detectable(n: int, df: int, alpha: float = ALPHA) -> float | None:
    """Return the effect, in sd of the differences, that is found with a power of `WANTED`.

    None without a degree of freedom.
    """
    if df < 1:
        return None
    noncentrality = find_root(lambda x: _power(x, df, alpha) - WANTED, 0.0, 4.0)
    return noncentrality / math.sqrt(n)


def _power(noncentrality: float, df: int, alpha: float) -> float:
    critical = _critical(df, alpha)
    return _exceeds(critical, noncentrality, df) + _exceeds(critical, -noncentrality, df)


@lru_cache
def _critical(df: int, alpha: float) -> float:
    """Return the t that is exceeded, up or down, with probability `alpha`."""
    return find_root(lambda t: alpha / 2 - _exceeds(t, 0.0, df), 0.0, 4.0)


def _exceeds(t: float, noncentrality: float, df: int) -> float:
    """Return P(T > t) of the noncentral t distribution.

    T > t if Z > t S - noncentrality, S being the root of chi-square / df. The integrand over
    x = log S vanishes at both ends, so the trapezoid rule is as good as any.
    """
    if df > _LARGE_DF:
        return _NORMAL.cdf(noncentrality - t)
    # Where the mass lies: the sd of x is 1 / sqrt(2 df), with a long lower tail if df is small.
    low, high = -18.0 / df - 6.0 / math.sqrt(df), 4.0 / math.sqrt(df)
    finest = 0.3 / max(math.sqrt(2 * df), abs(noncentrality))
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
    """The chance that a study by looks decides one test, and the mean number of seeds it takes."""

    power: float
    seeds: float


@dataclass(frozen=True)
class Design:
    """Looks at rising numbers of seeds on `strata` workloads of one spread, for one test.

    Between looks the statistic moves like a sum of normal increments; at each look its chance to
    cross is that of the noncentral t distribution.
    """

    looks: tuple[int, ...]
    shape: Shape
    strata: int
    alpha: float

    def course(self, effect: float) -> Course:
        """Return what happens if the true mean is `effect` sd of the paired differences."""
        bounds = _bounds(self.looks, self.shape, self.alpha)
        drifts = [self._drift(n, z, effect) for n, z in zip(self.looks, bounds, strict=True)]
        crossed = _crossed(self.looks, bounds, drifts)
        undecided = [1.0, *(1 - chance for chance in crossed[:-1])]  # before each look
        more = [b - a for a, b in pairwise((0, *self.looks))]
        seeds = sum(n * chance for n, chance in zip(more, undecided, strict=True))
        return Course(crossed[-1], seeds)

    def detectable(self) -> float:
        """Return the effect that is found with a power of `WANTED` by the last look."""
        return find_root(lambda effect: self.course(effect).power - WANTED, 0.0, 1.0, _LOOKS_CLOSE)

    def _drift(self, n: int, bound: float, effect: float) -> float:
        """Return the mean of a normal statistic that crosses as often as Student's t does."""
        if not effect:
            return 0.0
        strata = self.strata
        chance = power(effect, n * strata, strata * (n - 1), 2 * _NORMAL.cdf(-bound))
        chance = min(chance, 1 - 1e-9)

        def excess(mean: float) -> float:
            return _NORMAL.cdf(mean - bound) + _NORMAL.cdf(-mean - bound) - chance

        return find_root(excess, 0.0, bound)


@lru_cache
def _bounds(looks: tuple[int, ...], shape: Shape, alpha: float) -> tuple[float, ...]:
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


@dataclass(frozen=True)
class Claims:
    """What the seeds, data sets and questions of a sweep can carry.

    Effects are in sd of the paired differences and found with a power of 0.8; None if there is
    none. With `looks`, powers are those of the last one, by the limits of all of them, and
    `mean_seeds` are what one test takes if the effect is `detectable_level_a`, half an sd, none.
    `tests` are those that Holm adjusts for. Level A is about these data sets with new seeds, here
    with one spread on all of them and at Holm's strictest step; level B is about data sets like
    these, and takes `data_sets_needed` of them.
    """

    seeds: int
    workloads: int
    tests: int
    data_sets: int
    data_sets_needed: int
    detectable_on_one: float | None
    detectable_level_a: float | None
    power_level_a_half: float | None
    level_a: bool
    level_b: bool
    looks: tuple[int, ...] = ()
    limits: str | None = None
    mean_seeds: tuple[float, float, float] | None = None


def compute_claims(sweep: Sweep) -> Claims:
    """Work out what the seeds, data sets and questions of a sweep can carry."""
    declared, keys = sweep.keys.seeds, sweep.keys.analysis
    seeds, workloads = len(declared.blocks), len(sweep.workloads)
    tests = len(keys.endpoints) * len(sweep.questions)
    sets = len({one.data_set for one in sweep.workloads})
    # Each look may be the last, so the tests over data sets count them all.
    least = data_sets_needed(max(1, tests) * max(1, len(declared.looks)), keys.alpha)
    pairs, df = seeds * workloads, workloads * (seeds - 1)
    tested = tests > 0 and df > 0
    claims = Claims(
        seeds=seeds,
        workloads=workloads,
        tests=tests,
        data_sets=sets,
        data_sets_needed=least,
        detectable_on_one=detectable(seeds, seeds - 1, keys.alpha),
        detectable_level_a=detectable(pairs, df, keys.alpha / tests) if tested else None,
        power_level_a_half=power(_HALF, pairs, df, keys.alpha / tests) if tested else None,
        level_a=tested,
        level_b=tests > 0 and sets >= least,
    )
    return _add_looks(claims, sweep) if declared.looks else claims


def _add_looks(claims: Claims, sweep: Sweep) -> Claims:
    """Return the claims by the limits of all looks instead of one look at all seeds."""
    looks, keys = sweep.keys.seeds.looks, sweep.keys.analysis
    alone = Design(looks, keys.limits, 1, keys.alpha)
    claims = replace(claims, looks=looks, limits=keys.limits, detectable_on_one=alone.detectable())
    if not claims.level_a:
        return claims
    pooled = Design(looks, keys.limits, claims.workloads, keys.alpha / claims.tests)
    least = pooled.detectable()
    at_least, half, none = (pooled.course(effect) for effect in (least, _HALF, 0.0))
    return replace(
        claims,
        detectable_level_a=least,
        power_level_a_half=half.power,
        mean_seeds=(at_least.seeds, half.seeds, none.seeds),
    )


def describe_claims(claims: Claims) -> list[tuple[str, str]]:
    """Return the lines that `plan` prints, as label and text."""
    if claims.detectable_on_one is None:
        return [
            ("power", "one seed gives no interval: use two at least, five or more for an answer")
        ]
    power_of_one = (
        f"{_describe_seeds(claims)} find, 4 times in 5, a difference of "
        f"{claims.detectable_on_one:.2f} sd of the paired differences on one workload"
    )
    if claims.tests:
        texts = [_describe_level_a(claims), _describe_level_b(claims)]
    else:
        texts = ["none: the sweep asks no question (`baseline:` or `compare:`)"]
    return [("power", power_of_one), *(("claim", text) for text in texts)]


def _describe_level_a(claims: Claims) -> str:
    these = "this workload" if claims.workloads == 1 else f"these {claims.workloads} workloads"
    least = f"an average of {claims.detectable_level_a:.2f} sd 4 times in 5"
    half = f"of {_HALF} sd with probability {claims.power_level_a_half:.2f}"
    if claims.mean_seeds is None:
        step = f"{claims.tests} tests, Holm's strictest step"
        return f"on {these}, with new seeds: {least}, {half} ({step})"
    at_least, at_half, at_none = claims.mean_seeds
    return (
        f"on {these}, with new seeds: {least}, after {at_least:.1f} of {claims.seeds} seeds on "
        f"average; {half}, after {at_half:.1f}; where there is none, {at_none:.1f} seeds (one of "
        f"{claims.tests} tests, at Holm's strictest step)"
    )


def _describe_seeds(claims: Claims) -> str:
    if not claims.looks:
        return f"{claims.seeds} seeds"
    manner = {"obrien-fleming": "O'Brien-Fleming", "pocock": "Pocock"}[claims.limits or ""]
    return f"looks at {', '.join(map(str, claims.looks))} seeds ({manner})"


def _describe_level_b(claims: Claims) -> str:
    what = f"{claims.data_sets} data set{'s' * (claims.data_sets != 1)}"
    if claims.level_b:
        return (
            f"on data sets like these: possible from {what}, as far as they are a fair sample of "
            "the ones that are meant"
        )
    return (
        f"on data sets like these: none from {what}; the exact test over data sets needs "
        f"{claims.data_sets_needed} with {claims.tests} tests, and more seeds are no substitute"
    )
