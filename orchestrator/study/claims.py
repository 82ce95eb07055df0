"""What a study as planned will be able to say: its power, and whom its answers can be about.

What a number of seeds and data sets can show, before any trial: scipy is too slow for `plan`.

The noncentral t distribution by quadrature, standard library alone; `tracking.stats.power` is the
same by scipy, for spreads that were seen.

What looks at growing numbers of seeds can show, before any trial, and how many seeds they take.

Standard library alone, as `power` is; `tracking.stats.group_sequential` has the limits that
studies are stopped by, and agrees. Between looks the statistic moves like a sum of normal
increments; at each look its chance to cross is that of the noncentral t distribution. Against
simulated studies power is good to about 0.01.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

from orchestrator.sweep.sweep import Sweep
from tracking.compare.analysis import data_sets_needed

ALPHA = 0.05  # two-sided, as the comparison tests
WANTED = 0.8

_LARGE_DF = 2000  # beyond, Student's t is normal for what is planned here
_MOST_NODES = 5000
_CLOSE = 1e-8  # of probabilities, and of roots relatively
_NORMAL = NormalDist()


def power(effect: float, n: int, df: int, alpha: float = ALPHA) -> float:
    """Return P(reject) for a true mean of `effect` sd of the differences, of which there are `n`.

    Two-sided t test with `df` degrees of freedom; `df` is n - 1 for one stratum and n less the
    number of strata where all strata have one spread.
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
    return _beyond(critical, noncentrality, df) + _beyond(critical, -noncentrality, df)


@lru_cache
def _critical(df: int, alpha: float) -> float:
    """Return the t that is exceeded, up or down, with probability `alpha`."""
    return find_root(lambda t: alpha / 2 - _beyond(t, 0.0, df), 0.0, 4.0)


def _beyond(t: float, noncentrality: float, df: int) -> float:
    """Return P(T > t) of the noncentral t distribution.

    T > t where Z > t S - noncentrality, S the root of chi-square / df; over x = log S the
    integrand vanishes at both ends, where the trapezoid rule is as good as any.
    """
    if df > _LARGE_DF:
        return _NORMAL.cdf(noncentrality - t)
    # Where the mass lies: sd of x 1 / sqrt(2 df), with a long tail below where df is small.
    low, high = -18.0 / df - 6.0 / math.sqrt(df), 4.0 / math.sqrt(df)
    finest = 0.3 / max(math.sqrt(2 * df), abs(noncentrality))
    nodes = min(_MOST_NODES, math.ceil((high - low) / finest))
    step = (high - low) / nodes
    log_constant = (df / 2) * math.log(df / 2) - math.lgamma(df / 2) + math.log(2)
    total = 0.0
    for i in range(nodes + 1):
        root = math.exp(low + i * step)
        density = math.exp(log_constant + df * (low + i * step) - df / 2 * root * root)
        total += density * _upper(t * root - noncentrality)
    return total * step


def _upper(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


def find_root(
    rising: Callable[[float], float], low: float, high: float, close: float = _CLOSE
) -> float:
    """Return where a rising function is zero, above `low`: regula falsi, the Illinois way."""
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


Shape = Literal["obrien-fleming", "pocock"]

_NODES = 6  # for each standard deviation of an increment, on either side of the middle
_FEWEST, _MOST = 24, 96
_LOOKS_CLOSE = 1e-4  # of powers, and of effects relatively
_FARTHEST = 8.0  # standard deviations: beyond, nobody crosses


@dataclass(frozen=True)
class Course:
    """How a study by looks goes: the chance to decide one test, and the mean seeds until then."""

    power: float
    seeds: float


@dataclass(frozen=True)
class Design:
    """Looks at rising numbers of seeds on `strata` workloads of one spread, for one test."""

    looks: tuple[int, ...]
    shape: Shape
    strata: int
    alpha: float

    def course(self, effect: float) -> Course:
        """Return what happens where the true mean is `effect` sd of the paired differences."""
        bounds = _bounds(self.looks, self.shape, self.alpha)
        drifts = [
            self._drift(n, bound, effect) for n, bound in zip(self.looks, bounds, strict=True)
        ]
        crossed = _crossed(self.looks, bounds, drifts)
        left = [1 - chance for chance in crossed]
        more = [self.looks[0], *(b - a for a, b in zip(self.looks, self.looks[1:], strict=False))]
        seeds = sum(new * there for new, there in zip(more, [1.0, *left], strict=False))
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
        return find_root(
            lambda mean: _beyond_looks(bound, mean) - min(chance, 1 - 1e-9), 0.0, bound
        )


def _beyond_looks(bound: float, mean: float) -> float:
    return _NORMAL.cdf(mean - bound) + _NORMAL.cdf(-mean - bound)


@lru_cache
def _bounds(looks: tuple[int, ...], shape: Shape, alpha: float) -> tuple[float, ...]:
    """Return the |z| that stops each look, for a total level `alpha`."""
    rise = [(looks[-1] / n) ** (0.5 if shape == "obrien-fleming" else 0.0) for n in looks]

    def bounds(constant: float) -> list[float]:
        return [constant * each for each in rise]

    least = -_NORMAL.inv_cdf(alpha / 2)  # the last look alone needs it
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
    """Return the chance to have crossed by each look, the statistic having these means.

    The density of what has not crossed is carried on by Simpson's rule (Armitage, McPherson and
    Rowe 1969).
    """
    sums = [drift * math.sqrt(n) for drift, n in zip(drifts, looks, strict=True)]
    there: list[tuple[float, float]] = [(0.0, 1.0)]  # of the sum so far: place, weight
    found, before, mean = [], 0, 0.0
    for n, bound, ahead in zip(looks, bounds, sums, strict=True):
        sd, shift = math.sqrt(n - before), ahead - mean
        factor, scale = 1 / (sd * math.sqrt(2 * math.pi)), -0.5 / (sd * sd)
        density = [
            (
                x,
                weight
                * factor
                * sum(w * math.exp(scale * (x - y - shift) ** 2) for y, w in there),
            )
            for x, weight in _simpson(
                min(bound, _FARTHEST + abs(ahead) / math.sqrt(n)) * n**0.5, sd
            )
        ]
        there, before, mean = density, n, ahead
        found.append(min(1.0, max(0.0, 1 - sum(weight for _, weight in there))))
    return found


def _simpson(half: float, sd: float) -> list[tuple[float, float]]:
    """Return nodes on (-half, half) and weights, close enough for increments of this spread."""
    count = 2 * math.ceil(min(_MOST, max(_FEWEST, _NODES * half / sd)) / 2)
    step = 2 * half / count
    ends = {0, count}
    return [
        (-half + i * step, step / 3 * (1 if i in ends else 4 if i % 2 else 2))
        for i in range(count + 1)
    ]


_HALF = 0.5  # an effect worth naming, in sd of the paired differences


@dataclass(frozen=True)
class Claims:
    """Effects are in sd of the paired differences, for a power of 0.8; None where there is none.

    With `looks`, powers are those of the last one, by the limits of all of them, and `mean_seeds`
    are what one test takes: where the effect is that of `detectable_level_a`, half an sd, none.
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
    asked = tests > 0 and df > 0
    found = Claims(
        seeds=seeds,
        workloads=workloads,
        tests=tests,
        data_sets=sets,
        data_sets_needed=least,
        detectable_on_one=detectable(seeds, seeds - 1, keys.alpha),
        detectable_level_a=detectable(pairs, df, keys.alpha / tests) if asked else None,
        power_level_a_half=power(_HALF, pairs, df, keys.alpha / tests) if asked else None,
        level_a=asked,
        level_b=tests > 0 and sets >= least,
    )
    return _by_looks(found, sweep) if declared.looks else found


def _by_looks(found: Claims, sweep: Sweep) -> Claims:
    """Put the limits of the looks in the place of those of one look at all seeds."""
    looks, keys = sweep.keys.seeds.looks, sweep.keys.analysis
    alone = Design(looks, keys.limits, 1, keys.alpha)
    found = replace(found, looks=looks, limits=keys.limits, detectable_on_one=alone.detectable())
    if not found.level_a:
        return found
    pooled = Design(looks, keys.limits, found.workloads, keys.alpha / found.tests)
    least = pooled.detectable()
    at_least, half, none = (pooled.course(effect) for effect in (least, _HALF, 0.0))
    return replace(
        found,
        detectable_level_a=least,
        power_level_a_half=half.power,
        mean_seeds=(at_least.seeds, half.seeds, none.seeds),
    )


def describe_claims(found: Claims) -> list[tuple[str, str]]:
    """Return lines of label and content for a plan."""
    if found.detectable_on_one is None:
        return [
            ("power", "one seed gives no interval: use two at least, five or more for an answer")
        ]
    power_of_one = (
        f"{_seeds(found)} find, 4 times in 5, a difference of "
        f"{found.detectable_on_one:.2f} sd of the paired differences on one workload"
    )
    if found.tests:
        said = [_level_a(found), _level_b(found)]
    else:
        said = ["none: the sweep asks no question (`baseline:` or `compare:`)"]
    return [("power", power_of_one), *(("claim", one) for one in said)]


def _level_a(found: Claims) -> str:
    assert found.detectable_level_a is not None
    assert found.power_level_a_half is not None
    tests = f"{found.tests} tests, Holm's strictest step"
    if found.mean_seeds is not None:
        at_least, half, none = found.mean_seeds
        return (
            f"on {_these(found.workloads)}, with new seeds: an average of "
            f"{found.detectable_level_a:.2f} sd 4 times in 5, after {at_least:.1f} of "
            f"{found.seeds} seeds on average; of {_HALF} sd with probability "
            f"{found.power_level_a_half:.2f}, after {half:.1f}; where there is none, {none:.1f} "
            f"seeds (one of {found.tests} tests, at Holm's strictest step)"
        )
    return (
        f"on {_these(found.workloads)}, with new seeds: an average of "
        f"{found.detectable_level_a:.2f} sd 4 times in 5, of {_HALF} sd with probability "
        f"{found.power_level_a_half:.2f} ({tests})"
    )


def _seeds(found: Claims) -> str:
    if not found.looks:
        return f"{found.seeds} seeds"
    manner = {"obrien-fleming": "O'Brien-Fleming", "pocock": "Pocock"}[found.limits or ""]
    return f"looks at {', '.join(map(str, found.looks))} seeds ({manner})"


def _level_b(found: Claims) -> str:
    what = f"{found.data_sets} data set{'s' * (found.data_sets != 1)}"
    if found.level_b:
        return (
            f"on data sets like these: possible from {what}, as far as they are a fair sample of "
            "the ones that are meant"
        )
    return (
        f"on data sets like these: none from {what}; the exact test over data sets needs "
        f"{found.data_sets_needed} with {found.tests} tests, and more seeds are no substitute"
    )


def _these(workloads: int) -> str:
    return "this workload" if workloads == 1 else f"these {workloads} workloads"
