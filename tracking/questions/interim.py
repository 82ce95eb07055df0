"""Looks at growing data, declared beforehand: which have been taken, and p-values valid over all.

The arithmetic of limits is in `tracking.stats.group_sequential`. Estimates nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tracking.outcomes import Outcome
from tracking.questions.analysis import Question
from tracking.questions.endpoint import Endpoint
from tracking.stats.group_sequential import Shape, limits, repeated_p
from tracking.stats.multiplicity import holm

_Answer = TypeVar("_Answer")
_Judged = TypeVar("_Judged")


@dataclass(frozen=True)
class Look:
    """The look that an answer is of, counted from 1; 0 before the first one is complete."""

    look: int
    seeds: tuple[int, ...]
    shape: Shape

    def p(self, p: float) -> float:
        """Return a p-value that holds at whatever look one stops."""
        return 1.0 if self.look == 0 else repeated_p(self.seeds, self.look, p, self.shape)

    def one_sided_p(self, p: float) -> float:
        """Return a p-value of a one-sided test that holds at whatever look one stops."""
        return min(1.0, self.p(min(1.0, 2 * p)) / 2) if self.look else 1.0

    def limit(self, alpha: float) -> float:
        """Return the p-value at or below which this look stops, for a total level `alpha`."""
        return 0.0 if self.look == 0 else limits(self.seeds, alpha, self.shape)[self.look - 1]


@dataclass(frozen=True)
class Looks:
    """The looks of a study, and how many of them have been taken.

    `seeds` are rising; so many blocks from `first` on are those of a look. `complete` counts the
    looks whose trials all have an end; `ended` says after which look a candidate was sent no more
    seeds, every question about it being decided.
    """

    seeds: tuple[int, ...]
    shape: Shape = "obrien-fleming"
    complete: int = 0
    ended: Mapping[str, int] = field(default_factory=dict)
    first: int = 0

    def last_look(self, question: Question, look: int) -> Look:
        """Return the last look at both candidates of a question, of the first `look` ones."""
        ends = [self.ended.get(name, look) for name in (question.candidate, question.baseline)]
        return Look(min(look, *ends), self.seeds, self.shape)

    def blocks(self, look: int) -> int:
        """Return the number that all blocks of a look are below; of look 0, those of the first."""
        return self.first + self.seeds[max(look, 1) - 1]

    def select(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Return the trials of the looks that are complete; no result of a later one is used."""
        last = self.blocks(self.complete)
        return [
            one
            for one in outcomes
            if one.trial.block < min(last, self._last(one.trial.candidate.name))
        ]

    def skipped_blocks(self, candidates: Iterable[str]) -> frozenset[tuple[str, int]]:
        """Return each (candidate, block) that was not to run, the candidate being decided."""
        last = self.blocks(self.complete)
        return frozenset(
            (name, block) for name in candidates for block in range(self._last(name), last)
        )

    def _last(self, candidate: str) -> int:
        return self.blocks(self.ended.get(candidate, len(self.seeds)))


def take_looks(looks: Looks | None, question: Question) -> list[Look | None]:
    """Return every look that both candidates of a question have been through; [None] without any.

    Before the first one is complete that is look 0.
    """
    if looks is None:
        return [None]
    last = looks.last_look(question, looks.complete)
    return [replace(last, look=k) for k in range(min(1, last.look), last.look + 1)]


def judge_look_by_look(
    histories: Sequence[Sequence[_Answer]],
    judge: Callable[[list[Sequence[_Answer]]], list[_Judged]],
    is_decided: Callable[[_Judged], bool],
) -> list[_Judged]:
    """Judge answers, each at all of its looks, as they were judged look by look.

    What is decided at a look stays as it was said then, whatever later data say: nothing that is
    computed from them has a part in a decision that was made before. `judge` takes the answers of
    all looks so far.
    """
    judged: list[_Judged] = []
    for look in range(1, max(map(len, histories), default=0) + 1):
        now = judge([history[:look] for history in histories])
        before = judged or now
        judged = [one if is_decided(one) else new for one, new in zip(before, now, strict=True)]
    return judged


def judge_family(
    histories: Sequence[Sequence[_Answer]],
    find_p: Callable[[_Answer], float | None],
    decide: Callable[[_Answer, float | None], _Answer],
    leave_open: Callable[[_Answer, float | None], _Answer],
    alpha: float,
) -> list[_Answer]:
    """Judge answers, each at all of its looks, as a family by Holm.

    `find_p` gives the p-value of an answer that holds over looks, None if it can have no word: it
    counts with p = 1. The least p-value so far decides. `decide` and `leave_open` give an answer
    its word and its adjusted p-value.
    """

    def judge(so_far: list[Sequence[_Answer]]) -> list[tuple[_Answer, bool]]:
        able = [[one for one in rows if find_p(one) is not None] for rows in so_far]
        least = [
            min(some, key=lambda one: find_p(one) or 0.0, default=rows[-1])
            for some, rows in zip(able, so_far, strict=True)
        ]
        adjusted = holm([find_p(one) for one in least])
        is_sure = [p is not None and p <= alpha for p in adjusted]
        shown = [
            one if sure else rows[-1]
            for one, sure, rows in zip(least, is_sure, so_far, strict=True)
        ]
        now = holm([find_p(one) for one in shown])
        return [
            (decide(one, p) if sure else leave_open(one, own), sure)
            for one, p, own, sure in zip(shown, adjusted, now, is_sure, strict=True)
        ]

    return [one for one, _ in judge_look_by_look(histories, judge, lambda each: each[1])]


@dataclass(frozen=True)
class LedgerRow:
    """One question and endpoint at one look: the estimate, and the limit at which it stops.

    `seeds` a workload of the looks' last number are the `fraction` of the information; `n` counts
    pairs. `limit` is for p at Holm's strictest step. `p_repeated` is the least so far that holds
    over looks, `p_adjusted` by Holm over the family at this look. `word` is the verdict. `closed`:
    the user has ended the look with trials missing.
    """

    question: Question
    endpoint: Endpoint
    look: int
    seeds: int
    fraction: float
    n: int
    mean: float | None
    t: float | None
    df: float | None
    p: float | None
    limit: float
    p_repeated: float | None
    p_adjusted: float | None
    word: str
    closed: bool = False

    @property
    def decided(self) -> bool:
        """Return True if no more seeds are needed for an answer."""
        return self.word in DECIDED


WINS = ("wins more often", "wins less often")
DECIDED = ("better", "worse", "equivalent", *WINS)


@dataclass(frozen=True)
class Savings:
    """The cost saved because a look had decided: `hours` of a device, or of a core.

    Estimated from the mean training time of the same candidate on the same workload; `unknown`
    counts skipped trials for which there is none.
    """

    trials: int
    of: int
    hours: float
    spent_hours: float
    unit: str
    unknown: int = 0
