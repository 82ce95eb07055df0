"""Readiness: which questions have all the trials that their declared look asks for.

Before that a question has counts and means, and no word, p-value or interval: whoever looks at
growing data with ordinary tests finds what is not there.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from tracking.compare.analysis import Analysis, Question
from tracking.compare.interim import Looks
from tracking.outcomes import Outcome


@dataclass(frozen=True)
class Readiness:
    """How many of the trials that a question was declared to rest on are in.

    A trial of either candidate is in (`arrived`) if it has a result or was given up. `planned`
    are those of every declared workload and block of the look, whether or not they can be sent
    yet. `closed`: the user has ended the look with trials missing. `undecided`: the first look is
    not decided, whatever is in.
    """

    question: Question
    arrived: int
    planned: int
    closed: bool = False
    undecided: bool = False

    @property
    def is_open(self) -> bool:
        """True if trials are still to come, so that there is no answer yet."""
        return self.undecided or (self.arrived < self.planned and not self.closed)


def measure_readiness(
    questions: Sequence[Question],
    outcomes: Iterable[Outcome],
    analysis: Analysis,
    looks: Looks | None = None,
    given_up: Collection[str] = (),
    closed: bool = False,
) -> tuple[Readiness, ...]:
    """Count the trials of every question that are in, against those that an analysis declares.

    `given_up` are the ids of trials that will not run again. With `looks` they are the trials of
    the last complete look, before it those of the first. A look is complete only once its decision
    is written, even if all trials of one question are in before: looks are common to all
    questions, because the candidates that are sent no more seeds follow from all of its answers.
    """
    arrived = {
        (one.trial.workload.key, one.trial.candidate.name, one.trial.block)
        for one in outcomes
        if one.trial.phase == "compare" and (one.has_result or one.trial.id in given_up)
    }
    before_first = looks is not None and looks.complete == 0
    counts = []
    for question in questions:
        arms = (question.candidate, question.baseline)
        numbers: Sequence[int] = analysis.blocks
        if looks is not None:
            most = looks.blocks(looks.last_look(question, looks.complete).look)
            numbers = [block for block in numbers if block < most]
        cells = set(product(analysis.workloads.values(), arms, numbers))
        counts.append(Readiness(question, len(cells & arrived), len(cells), closed, before_first))
    return tuple(counts)
