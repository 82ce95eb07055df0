"""The pooled answers look by look, and the least p-values of all looks so far.

Decides nothing about what is sent next: that follows from the verdicts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tracking.compare.analysis import Analysis, Endpoint, Margins, Question
from tracking.compare.blocks import Blocks
from tracking.compare.differences import PValues, estimate_on_workload, judge, p_values, pool
from tracking.compare.interim import LedgerRow, Look, Looks
from tracking.compare.result import EXPLORATORY, Difference
from tracking.stats.multiplicity import benjamini_hochberg, holm

Hypothesis = tuple[Question, Endpoint]


@dataclass(frozen=True)
class Family:
    """The answers that were declared beforehand, and the level at which they are judged together.

    `unanswered` of its tests cannot be done. All other hypotheses are for exploration.
    """

    confirmatory: frozenset[Hypothesis]
    alpha: float
    margins: Margins
    unanswered: int = 0

    @staticmethod
    def of(analysis: Analysis, hypotheses: Sequence[Hypothesis]) -> "Family":
        """Return the family that an analysis declares, of which `hypotheses` can be tested."""
        declared = {(q, e) for q in analysis.questions for e in analysis.endpoints}
        possible = frozenset(declared & set(hypotheses))
        unanswered = len(declared) - len(possible)
        margins = Margins(analysis.rope_pp, analysis.margins)
        return Family(possible, analysis.alpha, margins, unanswered)

    @property
    def strictest(self) -> float:
        """The level of Holm's first step."""
        return self.alpha / max(1, len(self.confirmatory) + self.unanswered)

    def judge(
        self, answers: Sequence[Difference], before: Mapping[Hypothesis, PValues]
    ) -> list[Difference]:
        """Judge pooled answers, those for exploration among themselves."""
        judged: dict[Hypothesis, Difference] = {}
        for inside in (True, False):
            group = [one for one in answers if (_hypothesis(one) in self.confirmatory) == inside]
            if not group:
                continue
            reached = next((one.reached for one in group if one.reached), None)
            if not inside:
                group = [replace(one, flags=(*one.flags, EXPLORATORY)) for one in group]
            rows = judge(
                group,
                holm if inside else benjamini_hochberg,
                self.margins,
                self.alpha,
                self.strictest if reached is None else reached.limit(self.strictest),
                [before.get(_hypothesis(one), PValues()) for one in group],
                self.unanswered if inside else 0,
            )
            judged |= {_hypothesis(one): one for one in rows}
        return [judged[_hypothesis(one)] for one in answers]


def judge_looks(
    blocks: Blocks, hypotheses: Sequence[Hypothesis], looks: Looks, family: Family
) -> tuple[tuple[LedgerRow, ...], Mapping[Hypothesis, PValues]]:
    """Judge the pooled answers at every complete look.

    Return a row for each confirmatory answer and look, and the least p-values of all looks.
    """
    rows: list[LedgerRow] = []
    least: dict[Hypothesis, PValues] = {}
    for look in range(1, looks.complete + 1):
        answers = []
        for question, endpoint in hypotheses:
            last = looks.last_look(question, look)
            below = looks.blocks(last.look)
            singles = [
                estimate_on_workload(blocks, question, endpoint, name, below, other_tests=False)
                for name in blocks.workloads
            ]
            answers.append(pool(singles, last, family.alpha))
        for one in family.judge(answers, least):
            assert one.reached is not None
            before = least.get(_hypothesis(one), PValues())
            least[_hypothesis(one)] = p_values(one, one.estimate, family.margins).least(before)
            if one.reached.look == look and EXPLORATORY not in one.flags:
                rows.append(_row(one, one.reached, family))
    return tuple(rows), least


def _row(one: Difference, reached: Look, family: Family) -> LedgerRow:
    assert one.verdict is not None
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
        limit=reached.limit(family.strictest),
        p_repeated=one.p_valid,
        p_adjusted=one.p_adjusted,
        word=one.verdict,
    )


def _hypothesis(one: Difference) -> Hypothesis:
    return one.question, one.endpoint
