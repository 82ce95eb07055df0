"""The unit of a comparison: the block, or the search if the settings of a candidate were tuned.

The blocks that are trained with the settings of one search share the luck of that search, so they
are one repetition together and not several. Estimates nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tracking.questions.analysis import Question

Noun = Literal["search", "block"]

LEAST_UNITS = 5  # that a word needs in all
LEAST_UNITS_EACH = 3  # that it needs on every workload, if there are several

# The flags of answers from fewer units, and of those of which an arm lost trials for a reason that
# training can cause.
TOO_FEW_UNITS = "too few units"
# Of answers about the time to a target, of the arm that has reached it in fewer trials: without a
# budget it may be behind.
FEWER_OF_CANDIDATE, FEWER_OF_BASELINE = "candidate reached less", "baseline reached less"
# Of answers over workloads that differ in ranks or precision alone: their blocks have the same
# seeds, and their settings may be of the same searches.
SHARED_SEEDS = "shared seeds"
LOST_CANDIDATE, LOST_BASELINE = "lost candidate", "lost baseline"
# The flag of an answer that was decided before any trial of it had failed.
FAILED_SINCE = "failed since"


@dataclass(frozen=True)
class Units:
    """How many independent searches a workload has, and the names of the `tuned` candidates.

    Block b is trained with the settings of search b mod `searches`.
    """

    searches: int = 1
    tuned: frozenset[str] = frozenset()

    def number(self, question: Question, block: int) -> int:
        """Return the unit that a block belongs to: its search, or itself if nothing is tuned."""
        return block % self.searches if self.noun(question) == "search" else block

    def noun(self, question: Question) -> Noun:
        """Return what the units of a question are: searches if either candidate is tuned.

        With a single search they are blocks: the answer is about the settings that it has chosen.
        """
        is_tuned = question.candidate in self.tuned or question.baseline in self.tuned
        return "search" if self.searches > 1 and is_tuned else "block"

    @property
    def names_settings(self) -> bool:
        """True if tuned candidates have one search: answers are about its settings alone."""
        return self.searches == 1 and bool(self.tuned)


BLOCKS = Units()  # nothing is tuned


class _OnWorkload(Protocol):
    @property
    def workload(self) -> str | None: ...


@dataclass(frozen=True)
class SeedGroups:
    """What the seeds of workloads are of, by their names; their own unless said.

    Workloads that differ in ranks or precision alone share them: units of equal number are trained
    from the same splits and initial weights, maybe with the settings of one search.
    """

    of: Mapping[str, str] = field(default_factory=dict)

    def label(self, rows: Sequence[_OnWorkload]) -> list[str]:
        """Return a label for each row, the same one for those of workloads that share seeds."""
        names = [row.workload or "" for row in rows]
        return [self.of.get(name, name) for name in names]


OWN_SEEDS = SeedGroups()


def count_units(numbers: Sequence[int], groups: Sequence[str]) -> int:
    """Return how many independent units there are, given `numbers` of them; one label, one group.

    Those of a group are the same ones, as far as it has them.
    """
    least: dict[str, int] = {}
    for number, group in zip(numbers, groups, strict=True):
        least[group] = min(number, least.get(group, number))
    return sum(least.values())
