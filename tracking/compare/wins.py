"""Who wins more often: the primary answer of studies that have declared `win_probability`.

Within a workload a unit is won, lost or tied, and a diverged trial loses to one that has not
diverged: no value has to stand for it. Puts these counts beside the differences of means, which
then decide nothing. Judges nothing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from tracking.compare.blocks import Blocks, PairedResults
from tracking.compare.result import Difference
from tracking.questions.analysis import Question
from tracking.questions.units import (
    LEAST_UNITS,
    LEAST_UNITS_EACH,
    LOST_BASELINE,
    LOST_CANDIDATE,
    TOO_FEW_UNITS,
)
from tracking.stats.win_probability import Stratum, win_probability

# The flags of means, which say nothing about wins; the others of them are found anew.
_OF_MEANS = frozenset(
    {
        *(TOO_FEW_UNITS, LOST_CANDIDATE, LOST_BASELINE),
        *("collapse", "no spread", "partial", "few seeds", "mixed units"),
    }
)

_TIE = 1e-12  # of the larger value: the means of equal results may differ by rounding


@dataclass
class _Unit:
    """The blocks of a unit: how many trials of (candidate, baseline) diverged, and values."""

    diverged: list[int] = field(default_factory=lambda: [0, 0])
    values: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))

    @property
    def sign(self) -> int:
        """1 if the candidate wins, -1 if it loses, 0 for a tie.

        Of two that have diverged in some block, the one that has so less often wins.
        """
        if any(self.diverged):
            surplus = self.diverged[1] - self.diverged[0]
            return (surplus > 0) - (surplus < 0)
        first, second = (math.fsum(values) / len(values) for values in self.values)
        if abs(first - second) <= _TIE * max(abs(first), abs(second)):
            return 0
        return 1 if first > second else -1


def count_wins(
    one: Difference, blocks: Blocks, results: PairedResults, below: float, level: float
) -> Difference:
    """Give the difference on one workload its wins, from the blocks `below` a number.

    `results` are its pairs. The interval has the `level`, with looks over all of them.
    """
    assert one.workload is not None
    units = _units(one.question, one.workload, blocks, results, below).values()
    signs = [unit.sign for unit in units]
    stratum = Stratum(signs.count(1), signs.count(-1), len(signs))
    flags = list(_lost_flags(one, blocks, results))
    if len(signs) < LEAST_UNITS:
        flags.append(TOO_FEW_UNITS)
    return _with_wins(one, [stratum], flags, level)


def pool_wins(
    pooled: Difference, singles: Sequence[Difference], asked: int, level: float
) -> Difference:
    """Give a pooled difference its wins, from those of its workloads out of the `asked` ones.

    Wins have no unit: they are pooled also if the differences are not.
    """
    counted = [one.wins for one in singles if one.wins is not None]
    strata = [Stratum(one.won, one.lost, one.n) for one in counted]
    flags = [
        flag
        for flag in (LOST_CANDIDATE, LOST_BASELINE)
        if any(flag in one.flags for one in singles)
    ]
    numbers = [one.n for one in strata]
    is_few = sum(numbers) < LEAST_UNITS or min(numbers, default=0) < LEAST_UNITS_EACH
    if len(strata) < asked or is_few:
        flags.append(TOO_FEW_UNITS)
    return _with_wins(pooled, strata, flags, level)


def _with_wins(
    one: Difference, strata: Sequence[Stratum], flags: Sequence[str], level: float
) -> Difference:
    own = level if one.reached is None else 1 - one.reached.limit(1 - level)
    kept = [flag for flag in one.flags if flag not in _OF_MEANS]
    wins = win_probability(strata, own)
    return replace(one, wins=wins, flags=(*kept, *flags), without_divergence=None)


def _units(
    question: Question, workload: str, blocks: Blocks, results: PairedResults, below: float
) -> dict[int, _Unit]:
    """Return the units of the blocks in which both have a value, or one of them has diverged."""
    pairs = {one.block: one for one in results.pairs}
    first, second = (
        blocks.ended_trials(workload, name) for name in (question.candidate, question.baseline)
    )
    units: dict[int, _Unit] = {}
    for block in sorted(block for block in first.keys() & second.keys() if block < below):
        diverged = [arm[block].state == "diverged" for arm in (first, second)]
        if block not in pairs and not any(diverged):
            continue
        unit = units.setdefault(blocks.units.number(question, block), _Unit())
        for arm, is_lost in enumerate(diverged):
            unit.diverged[arm] += is_lost
        if not any(diverged):
            unit.values[0].append(pairs[block].candidate)
            unit.values[1].append(pairs[block].baseline)
    return units


def _lost_flags(one: Difference, blocks: Blocks, results: PairedResults) -> Iterator[str]:
    """Yield the flag of an arm that lost trials; those that diverged count, as losses."""
    arms = (one.question.candidate, one.question.baseline)
    flags = (LOST_CANDIDATE, LOST_BASELINE)
    for arm, flag, lost in zip(arms, flags, results.lost, strict=True):
        ended = blocks.ended_trials(one.workload or "", arm)
        if any(block not in ended or ended[block].state != "diverged" for block in lost):
            yield flag
