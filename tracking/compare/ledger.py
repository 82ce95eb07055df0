"""The answers judged as families of tests, look by look if the study has looks.

An answer that a look has decided stays that of its look. Decides nothing about what is sent next:
that follows from the verdicts.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from tracking.compare.differences import keep_counts
from tracking.compare.result import (
    EXPLORATORY,
    Difference,
    Verdict,
    verdict,
    verdict_on_wins,
)
from tracking.questions.analysis import Analysis, Margins, Primary, Question
from tracking.questions.endpoint import Endpoint
from tracking.questions.interim import DECIDED, LedgerRow, Looks, judge_look_by_look
from tracking.questions.units import (
    FAILED_SINCE,
    FEWER_OF_BASELINE,
    FEWER_OF_CANDIDATE,
    LOST_BASELINE,
    LOST_CANDIDATE,
    TOO_FEW_UNITS,
)
from tracking.stats.multiplicity import Adjustment, benjamini_hochberg, holm
from tracking.stats.t_tests import Estimate

Hypothesis = tuple[Question, Endpoint]

# The words that an answer with a flag cannot have: an arm that lost trials by its own doing would
# have done worse with them.
_BARRED: Mapping[str, Collection[str]] = {
    TOO_FEW_UNITS: DECIDED,
    LOST_CANDIDATE: ("better", "equivalent", "wins more often"),
    LOST_BASELINE: ("worse", "equivalent", "wins less often"),
    FEWER_OF_CANDIDATE: ("better", "equivalent"),
    FEWER_OF_BASELINE: ("worse", "equivalent"),
}

# The flags whose first occurrence after a decision is news to its reader.
_FAILURES = ("collapse", LOST_CANDIDATE, LOST_BASELINE)


@dataclass(frozen=True)
class PValues:
    """The p-values of one difference: two-sided, and of equivalence; None if there is none."""

    p: float | None = None
    same: float | None = None


@dataclass(frozen=True)
class AtLook:
    """An answer at one look, or at the end of a study without looks, and its p-values.

    They hold over all looks, whichever the study stops at, and are not adjusted for other answers.
    A test whose word a flag bars has no valid p-value: it counts in its family with p = 1.
    """

    row: Difference
    margins: Margins

    @cached_property
    def all_tests(self) -> PValues:
        """The p-values, those of tests whose word is barred among them."""
        return self._p_values(self.row.estimate)

    @cached_property
    def valid(self) -> PValues:
        return self._without_barred(self.all_tests)

    @cached_property
    def clean(self) -> PValues:
        """The valid p-values without the blocks of diverged trials."""
        if self.row.without_divergence is None:
            return self.valid
        return self._without_barred(self._p_values(self.row.without_divergence))

    def _without_barred(self, tests: PValues) -> PValues:
        return PValues(
            tests.p if self._may_be(self.direction) else None,
            tests.same if self._may_be("equivalent") else None,
        )

    def _may_be(self, word: Verdict) -> bool:
        """Return True if no flag bars a word."""
        return all(word not in _BARRED.get(flag, ()) for flag in self.row.flags)

    @cached_property
    def direction(self) -> Verdict:
        """The word that the two-sided test gives if it rejects."""
        if self.row.wins is not None:
            return "wins more often" if self.row.wins.probability > 0.5 else "wins less often"
        return "better" if (self.row.estimate.mean or 0.0) > 0 else "worse"

    def _p_values(self, estimate: Estimate) -> PValues:
        p, reached, wins = estimate.p, self.row.reached, self.row.wins
        margin = self.margins.of(self.row.endpoint, self.row.unit)
        if wins is not None:
            p, margin = wins.p, None  # nobody wins equally often: that is what nothing can show
        same = None if margin is None else estimate.equivalence_p(margin)
        if p is not None and wins is None and self.row.endpoint.one_sided:
            p = estimate.one_sided_p
            if reached is not None and p is not None:
                p = reached.one_sided_p(p)
        elif reached is not None:
            p = None if p is None else reached.p(p)
        if reached is not None:
            same = None if same is None else reached.one_sided_p(same)
        return PValues(p, same)


# An answer at every look that it has been through, in order.
History = Sequence[AtLook]


def judge(
    histories: Sequence[History],
    adjust: Adjustment,
    alpha: float,
    unanswered: int = 0,
    waiting: Collection[Question] = (),
) -> list[Difference]:
    """Give every answer its adjusted p-values and its verdict; return the row of its look.

    The two-sided tests and the tests of equivalence are adjusted as a family each, in which
    `unanswered` tests without a row, those of questions that are `waiting` for trials and those
    whose word a flag bars count with p = 1. The least p-value of all looks so far decides, of
    looks at which no flag bars the word. A verdict that does not stand without the blocks of
    diverged trials is undecided.

    An answer that a look has decided stays as it was said then, with estimate, interval and
    p-values, since the interval of a later one may hold zero; that trials have failed since is
    flagged. All others are those of their last look.
    """

    def adjusted(tests: Sequence[PValues]) -> list[PValues]:
        known = [
            PValues() if one[-1].row.question in waiting else test
            for one, test in zip(histories, tests, strict=True)
        ]
        return _adjust([*known, *[PValues()] * unanswered], adjust)[: len(known)]

    rows = judge_look_by_look(
        histories,
        lambda so_far: _judge_now(so_far, adjusted, alpha),
        lambda one: one.verdict in DECIDED,
    )
    return [
        keep_counts(history[-1].row)
        if row.question in waiting
        else _compare_with_last(row, history[-1].row)
        for row, history in zip(rows, histories, strict=True)
    ]


def _judge_now(
    histories: Sequence[History],
    adjusted: Callable[[Sequence[PValues]], list[PValues]],
    alpha: float,
) -> list[Difference]:
    """Judge answers as if nothing had been decided before the last look."""
    two_sided, same = [_least_two_sided(h) for h in histories], [_least_same(h) for h in histories]
    least = adjusted(
        [PValues(a.valid.p, b.valid.same) for a, b in zip(two_sided, same, strict=True)]
    )
    chosen = [
        b if _rejects(by.same, alpha) else a if _rejects(by.p, alpha) else history[-1]
        for history, a, b, by in zip(histories, two_sided, same, least, strict=True)
    ]
    clean = adjusted([one.clean for one in chosen])
    words = [_find_word(*each, alpha) for each in zip(chosen, least, clean, strict=True)]
    shown = [
        one if word in DECIDED else history[-1]
        for one, (word, _), history in zip(chosen, words, histories, strict=True)
    ]
    # An answer that nothing has decided has the p-value of the look that is shown.
    own = adjusted([one.valid for one in shown])
    return [
        replace(
            one.row,
            p_valid=one.valid.p,
            p_adjusted=(by if word in DECIDED and word != "equivalent" else now).p,
            equivalence_p=(by if word == "equivalent" else now).same,
            verdict=word,
            flags=(*one.row.flags, *more),
        )
        for one, by, now, (word, more) in zip(shown, least, own, words, strict=True)
    ]


def _compare_with_last(decided: Difference, last: Difference) -> Difference:
    """Add to an answer of an earlier look what the last one has found since."""
    if decided.reached == last.reached:
        return decided
    since = any(flag in last.flags and flag not in decided.flags for flag in _FAILURES)
    flags = (*decided.flags, FAILED_SINCE) if since else decided.flags
    return replace(decided, latest=last.estimate, flags=flags)


def _least_two_sided(history: History) -> AtLook:
    """Return the look of the least p-value, of those that may have its word; else the last one."""
    able = [one for one in history if one.valid.p is not None]
    return min(able, key=lambda one: one.valid.p or 0.0, default=history[-1])


def _least_same(history: History) -> AtLook:
    able = [one for one in history if one.valid.same is not None]
    return min(able, key=lambda one: one.valid.same or 0.0, default=history[-1])


def _rejects(p: float | None, alpha: float) -> bool:
    return p is not None and p <= alpha


def _adjust(tests: Sequence[PValues], adjust: Adjustment) -> list[PValues]:
    two_sided = adjust([one.p for one in tests])
    equivalence = adjust([one.same for one in tests])
    return [PValues(*pair) for pair in zip(two_sided, equivalence, strict=True)]


def _find_word(
    one: AtLook, adjusted: PValues, clean: PValues, alpha: float
) -> tuple[Verdict, tuple[str, ...]]:
    """Return the verdict on an answer, and the flag that has made it undecided, if one has."""
    row, left = one.row, one.row.without_divergence
    is_barred = one.all_tests.p is not None and one.valid.p is None
    p = 1.0 if is_barred and adjusted.p is None else adjusted.p
    word = (
        verdict(row.estimate, p, adjusted.same, alpha)
        if row.wins is None
        else verdict_on_wins(row.wins, p, alpha)
    )
    if word not in DECIDED:
        return word, ()
    # If one arm diverges in every unit and the other in none, no clean unit is needed.
    needs_clean = left is not None and sorted(row.divergences) != [0, row.estimate.n]
    if left is not None and needs_clean and word != verdict(left, clean.p, clean.same, alpha):
        return "undecided", ("rests on collapse",)
    return word, ()


@dataclass(frozen=True)
class Family:
    """The answers that were declared beforehand, and the level at which they are judged together.

    `unanswered` of its tests cannot be done. All other hypotheses are for exploration. `workloads`
    were declared. `primary` is what all verdicts are about.
    """

    confirmatory: frozenset[Hypothesis]
    alpha: float
    margins: Margins
    workloads: int
    unanswered: int = 0
    primary: Primary = "mean"

    @staticmethod
    def of(analysis: Analysis, hypotheses: Sequence[Hypothesis]) -> "Family":
        """Return the family that an analysis declares, of which `hypotheses` can be tested."""
        declared = {(q, e) for q in analysis.questions for e in analysis.endpoints}
        possible = frozenset(declared & set(hypotheses))
        return Family(
            possible,
            analysis.alpha,
            Margins(analysis.rope_pp, analysis.margins),
            len(analysis.workloads),
            len(declared) - len(possible),
            analysis.primary,
        )

    def size(self, on_each: bool = False) -> int:
        """Return the number of tests: pooled, or `on_each` workload."""
        of_one = len(self.confirmatory) + self.unanswered
        return of_one * self.workloads if on_each else of_one

    def detectable_level(self, one: Difference) -> float:
        """Return the level of Holm's first step for an answer, at its look.

        It is that of a two-sided test; a one-sided one has twice as much on its side.
        """
        strictest = self.alpha / max(1, self.size(one.workload is not None))
        strictest *= 2 if one.endpoint.one_sided else 1
        return strictest if one.reached is None else one.reached.limit(strictest)

    def judge(
        self, histories: Sequence[History], waiting: Collection[Question], on_each: bool = False
    ) -> list[Difference]:
        """Judge the pooled answers or, `on_each`, those of workloads, each a family of its own.

        Answers for exploration are judged among themselves.
        """
        judged: dict[int, Difference] = {}
        for inside in (True, False):
            places = [
                place
                for place, one in enumerate(histories)
                if ((one[-1].row.question, one[-1].row.endpoint) in self.confirmatory) == inside
            ]
            if not places:
                continue
            rows = judge(
                [histories[place] for place in places],
                holm if inside else benjamini_hochberg,
                self.alpha,
                self.size(on_each) - len(places) if inside else 0,
                waiting,
            )
            judged |= zip(places, rows, strict=True)
        return [
            one
            if (one.question, one.endpoint) in self.confirmatory
            else replace(one, flags=(*one.flags, EXPLORATORY))
            for _, one in sorted(judged.items(), key=lambda item: item[0])
        ]


def judge_looks(
    histories: Sequence[History], looks: Looks, family: Family, waiting: Collection[Question]
) -> tuple[LedgerRow, ...]:
    """Judge the pooled answers at every complete look: a row for each confirmatory one."""
    rows: list[LedgerRow] = []
    for look in range(1, looks.complete + 1):
        so_far = [history[:look] for history in histories]
        for one, history in zip(family.judge(so_far, waiting), so_far, strict=True):
            is_declared = (one.question, one.endpoint) in family.confirmatory
            if len(history) == look and is_declared and one.verdict is not None:
                rows.append(_row(one, history, family))
    return tuple(rows)


def _shown_p(one: Difference) -> float | None:
    if one.wins is not None:
        return one.wins.p
    return one.estimate.one_sided_p if one.endpoint.one_sided else one.estimate.p


def _row(judged: Difference, history: History, family: Family) -> LedgerRow:
    one = history[-1].row
    reached, estimate = one.reached, one.estimate
    assert reached is not None
    assert judged.verdict is not None
    seeds = reached.seeds[reached.look - 1]
    return LedgerRow(
        question=one.question,
        endpoint=one.endpoint,
        look=reached.look,
        seeds=seeds,
        fraction=seeds / reached.seeds[-1],
        n=estimate.n,
        mean=estimate.mean,
        t=estimate.t if one.wins is None else None,
        df=estimate.df if one.wins is None else None,
        p=_shown_p(one),
        limit=family.detectable_level(one) / (2 if one.endpoint.one_sided else 1),
        p_repeated=min((p for each in history if (p := each.valid.p) is not None), default=None),
        p_adjusted=judged.p_adjusted,
        word=judged.verdict,
    )
