"""The pooled answers look by look: what each look has found, and what has been found so far.

Says nothing of what is to be sent next: that follows from the words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tracking.compare.analysis import Analysis, Endpoint, Question
from tracking.compare.blocks import Blocks
from tracking.compare.differences import PValues, estimate_on_workload, judge, p_values, pool
from tracking.compare.interim import LedgerRow, Look, Looks
from tracking.compare.result import EXPLORATORY, Difference
from tracking.stats.multiplicity import benjamini_hochberg, holm

Asked = tuple[Question, Endpoint]


@dataclass(frozen=True)
class Family:
    """Which answers were declared beforehand, and at what level they are judged together.

    `unanswered` of its tests cannot be done. Everything else that is asked is for exploration.
    """

    confirmatory: frozenset[Asked]
    alpha: float
    rope_pp: float
    unanswered: int = 0

    @staticmethod
    def of(analysis: Analysis, asked: Sequence[Asked]) -> "Family":
        declared = {(q, e) for q in analysis.questions for e in analysis.endpoints}
        possible = frozenset(declared & set(asked))
        unanswered = len(declared) - len(possible)
        return Family(possible, analysis.alpha, analysis.rope_pp, unanswered)

    @property
    def tests(self) -> int:
        return max(1, len(self.confirmatory) + self.unanswered)

    def judge(
        self, answers: Sequence[Difference], before: Mapping[Asked, PValues]
    ) -> list[Difference]:
        """Judge pooled answers, those for exploration among themselves."""
        found = dict.fromkeys(map(_asked, answers))
        for inside in (True, False):
            group = [one for one in answers if (_asked(one) in self.confirmatory) == inside]
            if not group:
                continue
            reached = next((one.reached for one in group if one.reached), None)
            strictest = self.alpha / self.tests
            if not inside:
                group = [replace(one, flags=(*one.flags, EXPLORATORY)) for one in group]
            judged = judge(
                group,
                holm if inside else benjamini_hochberg,
                self.rope_pp,
                self.alpha,
                strictest if reached is None else reached.limit(strictest),
                [before.get(_asked(one), PValues()) for one in group],
                self.unanswered if inside else 0,
            )
            found |= {_asked(one): one for one in judged}
        return [one for one in found.values() if one is not None]


def judge_looks(
    blocks: Blocks, asked: Sequence[Asked], looks: Looks, family: Family
) -> tuple[tuple[LedgerRow, ...], Mapping[Asked, PValues]]:
    """Go through the complete looks; return what each found, and the least p-values of them."""
    rows: list[LedgerRow] = []
    least: dict[Asked, PValues] = {}
    for look in range(1, looks.complete + 1):
        answers = []
        for question, endpoint in asked:
            last = looks.last_look(question, look)
            below = looks.blocks(last.look)
            singles = [
                estimate_on_workload(blocks, question, endpoint, name, below, other_tests=False)
                for name in blocks.workloads
            ]
            answers.append(pool(singles, last, family.alpha))
        for one in family.judge(answers, least):
            assert one.reached is not None
            before = least.get(_asked(one), PValues())
            least[_asked(one)] = p_values(one, one.estimate, family.rope_pp).least(before)
            if one.reached.look == look and EXPLORATORY not in one.flags:
                rows.append(_row(one, one.reached, family))
    return tuple(rows), least


def _row(one: Difference, reached: Look, family: Family) -> LedgerRow:
    estimate, seeds = one.estimate, reached.seeds[reached.look - 1]
    return LedgerRow(
        question=one.question,
        endpoint=one.endpoint,
        look=reached.look,
        seeds=seeds,
        fraction=seeds / reached.seeds[-1],
        n=estimate.n,
        mean=estimate.mean,
        t=estimate.t,
        df=estimate.df,
        p=estimate.p,
        limit=reached.limit(family.alpha / family.tests),
        p_repeated=one.p_valid,
        p_adjusted=one.p_adjusted,
        word=one.verdict,
    )


def _asked(one: Difference) -> Asked:
    return one.question, one.endpoint
