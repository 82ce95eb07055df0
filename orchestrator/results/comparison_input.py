"""What a comparison is made of that is not of one study: outcomes, questions, notes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jobs.contract.trial import Candidate
from orchestrator.results.asked import Asked
from orchestrator.results.untuned import describe_untuned
from tracking.outcomes import Outcome
from tracking.questions.units import BLOCKS, Units

if TYPE_CHECKING:
    from tracking.compare.result import Comparison

_TWO_STUDIES = "they are of two studies: write both into one sweep, with `tune: {trials: 8}`"


@dataclass(frozen=True)
class ComparisonInput:
    """Outcomes to compare, the pairs of candidates asked about, and notes for the reader.

    `as_declared` are the candidates of which is known that nobody tuned them. `units` are what is
    counted, and `given_up` the trials that will not run again, with their class of failure.
    Unless it `is_paired`, candidates are compared by all of their trials, whatever their blocks.
    """

    name: str
    outcomes: tuple[Outcome, ...]
    questions: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    as_declared: tuple[Candidate, ...] = ()
    units: Units = BLOCKS
    given_up: Mapping[str, str] = field(default_factory=dict)
    is_paired: bool = True

    @property
    def shown(self) -> tuple[Outcome, ...]:
        """The outcomes as a report shows them."""
        return self.outcomes

    def ask(self, asked: Asked) -> "ComparisonInput":
        """Return what is asked on the command line instead; raises SweepError."""
        names = list(dict.fromkeys(one.trial.candidate.name for one in self.outcomes))
        return replace(
            self,
            outcomes=asked.read(self.outcomes),
            questions=asked.ask(self.questions, names),
            notes=(asked.describe(), *self.notes),
        )

    def compare(self) -> "Comparison":
        """Answer the questions; raises ComparisonError."""
        from tracking.compare.compare import compare
        from tracking.questions.analysis import Question

        questions = [Question(*pair) for pair in self.questions]
        comparison = compare(
            self.name,
            self.outcomes,
            questions,
            notes=self.notes,
            units=self.units,
            given_up=self.given_up,
            is_paired=self.is_paired,
        )
        return replace(
            comparison, untuned=describe_untuned(self.as_declared, obstacle=_TWO_STUDIES)
        )
