"""Designs of a study beside its own: numbers of searches and seeds, their power and their price.

A tuned comparison repeats searches: the unit is the search, and the mean over its blocks is its
value. How much of the spread of a block's difference is due to the search is measured once there
are results, and assumed before.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from orchestrator.study.design_power import WANTED, Design, format_power
from orchestrator.study.estimate import in_words
from orchestrator.study.price import Pricing, format_hours
from orchestrator.sweep.search_space import TunedCandidate
from orchestrator.sweep.sweep import Sweep
from tracking.columns import columns
from tracking.outcomes import Outcome
from tracking.questions.units import LEAST_UNITS_EACH

_REPEATS = (1, 3, 5)  # searches a workload
_MOST_SEARCHES = 40  # of a design that is looked for
_MOST_SEEDS = 200
_LEAST_DF = 4  # of each of the two variances that a share is measured by


@dataclass(frozen=True)
class SearchShare:
    """The share of the search in the variance of a block's difference between two candidates.

    Of candidates that are tuned anew for that block; the rest is that of blocks of one search.
    """

    value: float
    measured: bool


ASSUMED = SearchShare(0.5, False)  # see docs/tuning.md


@dataclass(frozen=True)
class Replication:
    """What a comparison repeats: `units` on each workload, at each look, of an sd.

    `sd` is in units of the sd of the difference on one block (with a search of its own if it is
    tuned). The units are searches if `of_searches`, else blocks.
    """

    units: tuple[int, ...]
    sd: float
    of_searches: bool


def is_tuned(sweep: Sweep) -> bool:
    """Return True if a question is about a candidate that is tuned."""
    tuned = {one.name for one in sweep.candidates if isinstance(one, TunedCandidate)}
    return any(tuned & set(pair) for pair in sweep.questions)


def replicate(sweep: Sweep, share: float) -> Replication:
    """Return what a sweep repeats."""
    seeds, searches = sweep.keys.seeds, sweep.searches
    if not is_tuned(sweep):
        return Replication(seeds.looks or (len(seeds.blocks),), 1.0, False)
    if searches == 1:  # the settings do not vary, so neither does their luck
        return Replication(seeds.looks or (len(seeds.blocks),), math.sqrt(1 - share), False)
    if seeds.looks:  # a search for each block
        return Replication(seeds.looks, 1.0, True)
    blocks = Counter(block % searches for block in seeds.blocks)
    return Replication((searches,), _sd(share, list(blocks.values())), True)


def _sd(share: float, blocks: Sequence[int]) -> float:
    """Return the sd of the mean over a search's blocks; `blocks` has their number by search."""
    return math.sqrt(share + (1 - share) * fmean(1 / count for count in blocks))


def measure_share(sweep: Sweep, outcomes: Sequence[Outcome]) -> SearchShare:
    """Return the share of the search by the results so far, else the assumed one.

    By a one-way random effects model of the differences of the final metric in the searches of
    each workload and question; the variances are averaged over them. Diverged trials are left out.
    """
    searches, between, within = sweep.searches, [], []
    degrees = [0, 0]
    for groups in _group_differences(sweep, outcomes) if searches > 1 else ():
        count = sum(map(len, groups))
        if len(groups) < 2 or count == len(groups):
            continue
        spread = sum((len(g) - 1) * variance(g) for g in groups if len(g) > 1)
        inner = spread / (count - len(groups))
        middle = sum(map(sum, groups)) / count
        outer = sum(len(g) * (fmean(g) - middle) ** 2 for g in groups) / (len(groups) - 1)
        each = (count - sum(len(g) ** 2 for g in groups) / count) / (len(groups) - 1)
        between.append((outer - inner) / each)
        within.append(inner)
        degrees[0] += len(groups) - 1
        degrees[1] += count - len(groups)
    if min(degrees) < _LEAST_DF or not fmean(within):
        return ASSUMED
    search = max(0.0, fmean(between))
    return SearchShare(search / (search + fmean(within)), True)


def _group_differences(sweep: Sweep, outcomes: Sequence[Outcome]) -> Iterator[list[list[float]]]:
    """Yield the differences of the final metric by search, workload by workload."""
    final: dict[tuple[str, str], dict[int, float]] = {}
    for one in outcomes:
        spec = one.trial.workload.metric_spec
        value = one.metrics.get(spec.final_metric or spec.metric)
        if one.trial.phase == "compare" and one.state == "completed" and value is not None:
            place = one.trial.workload.name, one.trial.candidate.name
            final.setdefault(place, {})[one.trial.block] = value
    tuned = {one.name for one in sweep.candidates if isinstance(one, TunedCandidate)}
    for workload in sweep.workloads:
        for pair in sweep.questions:
            if not tuned & set(pair):
                continue
            first, second = (final.get((workload.name, name), {}) for name in pair)
            groups: dict[int, list[float]] = {}
            for block in first.keys() & second.keys():
                groups.setdefault(block % sweep.searches, []).append(first[block] - second[block])
            yield list(groups.values())


@dataclass(frozen=True)
class DesignPrice:
    """A design with its power for one effect and its price from the first trial to the last.

    `searches` is 1 if only settings are compared, and 0 if nothing is tuned. `power` is for an
    `effect` in sd of a block's difference, at Holm's strictest step; `detectable` is the effect
    of power 0.8, None if no word is possible. `tuning` and `comparison` are numbers of trials, if
    no search is widened; `seconds` and `hours` are None if nothing is known of a trial.
    """

    searches: int
    seeds: int
    tuning: int
    comparison: int
    seconds: float | None
    hours: float | None
    at_most: bool
    effect: float
    power: float
    detectable: float | None
    is_own: bool = False
    is_cheapest: bool = False


def list_designs(
    sweep: Sweep, pricing: Pricing, share: float, effect: float
) -> tuple[DesignPrice, ...]:
    """Return some designs by their price: one, three and five searches, more seeds, the cheapest.

    The cheapest is that of all with a power of 0.8 for `effect`; there is none if it takes more
    than forty searches or two hundred seeds. Nothing without a question, or with looks and nothing
    tuned.
    """
    seeds, searches = len(sweep.keys.seeds.blocks), sweep.searches
    finder = _Finder(sweep, pricing, share, effect)
    if not sweep.questions:
        return ()
    if not is_tuned(sweep):
        wanted = {(0, seeds)}
        own = (0, seeds)
    else:
        own = (searches, seeds)
        repeats = (1, searches) if sweep.keys.seeds.looks else (*_REPEATS, searches)
        wanted = {(k, max(seeds, k)) for k in repeats}
        if not sweep.keys.seeds.looks:
            wanted.add((searches, 2 * seeds))
    cheapest = finder.find_cheapest()
    if cheapest is not None:
        wanted.add(cheapest)
    designs = [
        finder.describe(*one, is_own=one == own, is_cheapest=one == cheapest) for one in wanted
    ]
    return tuple(
        sorted(designs, key=lambda one: (one.tuning + one.comparison, one.searches, one.seeds))
    )


class _Finder:
    def __init__(self, sweep: Sweep, pricing: Pricing, share: float, effect: float) -> None:
        self._sweep, self._pricing = sweep, pricing
        self._share, self._effect = share, effect
        self._tests = max(1, len(sweep.endpoints) * len(sweep.questions))
        self._tuned = is_tuned(sweep)

    def describe(self, searches: int, seeds: int, is_own: bool, is_cheapest: bool) -> DesignPrice:
        design, sd = self._design(searches, seeds, is_own)
        detectable = design.detectable()
        tuning, comparison = self._pricing.price_design(searches, seeds)
        return DesignPrice(
            searches,
            seeds,
            tuning.trials,
            comparison.trials,
            _add(tuning.seconds, comparison.seconds),
            _add(tuning.hours, comparison.hours),
            tuning.at_most or comparison.at_most,
            self._effect,
            design.power(self._effect / sd),
            None if detectable is None else detectable * sd,
            is_own,
            is_cheapest,
        )

    def _design(self, searches: int, seeds: int, is_own: bool) -> tuple[Design, float]:
        """Return a design, and the sd of its units; with looks if the sweep has them."""
        keys = self._sweep.keys
        looks = keys.seeds.looks if is_own or (self._tuned and searches == 1) else ()
        sd = 1.0
        if searches == 1:
            sd = math.sqrt(1 - self._share)
        elif searches and not looks:
            sd = _sd(
                self._share, [seeds // searches + (k < seeds % searches) for k in range(searches)]
            )
        units = looks or (searches if searches > 1 else seeds,)
        return self._make(units), sd

    def _make(self, units: tuple[int, ...]) -> Design:
        keys = self._sweep.keys
        wins = keys.analysis.primary == "win_probability"
        level = keys.alpha / self._tests
        return Design(units, self._sweep.independent_workloads, level, keys.analysis.limits, wins)

    def find_cheapest(self) -> tuple[int, int] | None:
        """Return the searches and seeds of the cheapest design without looks."""
        return self._find_searches() if self._tuned else self._find_seeds()

    def _find_seeds(self) -> tuple[int, int] | None:
        def finds(seeds: int) -> bool:
            return self._make((seeds,)).power(self._effect) >= WANTED

        least, most = LEAST_UNITS_EACH, _MOST_SEEDS
        if self._make((most,)).wins:  # counts are coarse: one more seed may take power away
            return next(((0, seeds) for seeds in range(least, most) if finds(seeds)), None)
        if not finds(most):
            return None
        while least < most:
            middle = (least + most) // 2
            least, most = (least, middle) if finds(middle) else (middle + 1, most)
        return 0, least

    def _find_searches(self) -> tuple[int, int] | None:
        best: tuple[float, int, int] | None = None
        for searches in range(LEAST_UNITS_EACH, _MOST_SEARCHES + 1):
            detectable = self._make((searches,)).detectable()
            if detectable is None:
                continue
            allowed = (self._effect / detectable) ** 2 - self._share  # the variance of the blocks
            if allowed <= 0:
                continue
            each = max(1, math.ceil((1 - self._share) / allowed - 1e-9))
            seeds = searches * each
            if seeds > _MOST_SEEDS:
                continue
            price = self._pay(searches, seeds)
            if best is None or price < best[0]:
                best = price, searches, seeds
            if each == 1:
                break  # more searches cost more
        return best and (best[1], best[2])

    def _pay(self, searches: int, seeds: int) -> float:
        tuning, comparison = self._pricing.price_design(searches, seeds)
        hours = _add(tuning.hours, comparison.hours)
        return float(tuning.trials + comparison.trials) if hours is None else hours


def _add(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def describe_designs(
    designs: Sequence[DesignPrice], share: SearchShare, unit: str
) -> list[tuple[str, str]]:
    """Return a table of designs if something is tuned, else a line on the seeds that it takes."""
    if not designs:
        return []
    effect = f"{designs[0].effect:g} sd"
    cheapest = next((one for one in designs if one.is_cheapest), None)
    if designs[0].searches == 0:
        return [("design", _describe_seeds(cheapest, effect))]
    heads = ("searches", "seeds", "tuning + comparison", "time", f"{unit} hours")
    rows: list[tuple[str, ...]] = [(*heads, f"finds {effect}", "80 % from", "")]
    rows += map(_describe_row, designs)
    table = columns(rows, right=range(len(rows[0]) - 1)).splitlines()
    lines = [("designs" if number == 0 else "", line) for number, line in enumerate(table)]
    if cheapest is None:
        lines.append(
            ("", f"no design of up to {_MOST_SEARCHES} searches finds {effect} 4 times in 5")
        )
    whence = "as measured so far" if share.measured else "as assumed before there are results"
    note = (
        f"sd: of the difference on one block with a search of its own, {share.value:.0%} of its "
        f"variance being the search's ({whence}); no search widened"
    )
    return [*lines, ("", note)]


def _describe_seeds(cheapest: DesignPrice | None, effect: str) -> str:
    if cheapest is None:
        return f"to find {effect} 4 times in 5 takes more than {_MOST_SEEDS} seeds"
    time = "" if cheapest.seconds is None else f", about {in_words(cheapest.seconds)}"
    mine = ", which it has" if cheapest.is_own else ""
    return (
        f"to find {effect} 4 times in 5 takes {cheapest.seeds} seeds on each workload{mine}: "
        f"{cheapest.comparison} trials{time}, as a whole"
    )


def _describe_row(one: DesignPrice) -> tuple[str, ...]:
    notes = ["of the settings alone"] * (one.searches == 1)
    notes += ["this sweep"] * one.is_own + ["the cheapest of 80 %"] * one.is_cheapest
    return (
        str(one.searches),
        str(one.seeds),
        f"{one.tuning} + {one.comparison}",
        "?" if one.seconds is None else in_words(one.seconds),
        "?" if one.hours is None else format_hours(one.hours),
        format_power(one.power),
        "no word" if one.detectable is None else f"{one.detectable:.2f} sd",
        "; ".join(notes),
    )
