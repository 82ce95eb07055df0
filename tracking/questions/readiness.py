"""Readiness: which questions have all the trials that their declared look asks for.

Before that a question has counts and means, and no word, p-value or interval: whoever looks at
growing data with ordinary tests finds what is not there. Trials that never come count as in; those
that training itself has lost are named, because they say something about their candidate.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from jobs.contract.failures import FailureClass, classify_exception
from tracking.outcomes import Outcome
from tracking.questions.analysis import Question
from tracking.questions.interim import Looks

# What an optimizer, by its memory, its pace or its numbers, may bring about. The other classes are
# of the machine and its queue, and say nothing about a candidate.
TRAINING_CAN_CAUSE: frozenset[FailureClass] = frozenset(
    ("USER_ERROR", "OOM_HOST", "OOM_DEVICE", "TIMEOUT")
)


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
    workloads: Collection[str],
    blocks: Sequence[int],
    looks: Looks | None = None,
    given_up: Collection[str] = (),
    closed: bool = False,
) -> tuple[Readiness, ...]:
    """Count the trials of every question that are in, against those that were declared.

    Declared are the `workloads`, by key, and numbers of blocks. `given_up` are the ids of trials
    that will not run again. With `looks` they are the trials of the last complete look, before it
    those of the first. A look is complete only once its decision is written, even if all trials of
    one question are in before: looks are common to all questions, because which candidates are
    sent no more seeds follows from all of its answers.
    """
    arrived = Counter(
        (one.trial.workload.key, one.trial.candidate.name, one.trial.block)
        for one in outcomes
        if one.trial.phase == "compare" and (one.has_result or one.trial.id in given_up)
    )
    before_first = looks is not None and looks.complete == 0
    counts = []
    for question in questions:
        arms = (question.candidate, question.baseline)
        numbers = blocks
        if looks is not None:
            most = looks.blocks(looks.last_look(question, looks.complete).look)
            numbers = [block for block in numbers if block < most]
        # Workloads that differ in ranks or precision alone have one key, and a trial each.
        cells = Counter(product(workloads, arms, numbers))
        counts.append(
            Readiness(question, (cells & arrived).total(), cells.total(), closed, before_first)
        )
    return tuple(counts)


def find_lost(
    outcomes: Iterable[Outcome], given_up: Mapping[str, str], is_over: bool
) -> frozenset[str]:
    """Return the ids of trials that training itself has cost their result.

    `given_up` has the class of every failure that is not tried again. If the comparison `is_over`,
    so that nothing is tried again, the others are classified by the error that they failed with.
    """

    def is_lost(one: Outcome) -> bool:
        kind = given_up.get(one.trial.id)
        if kind is None and is_over and one.state == "failed":
            kind = classify_exception(one.kind, one.error)
        return kind in TRAINING_CAN_CAUSE

    return frozenset(one.trial.id for one in outcomes if not one.has_result and is_lost(one))
