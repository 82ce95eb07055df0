"""From logs to the answer: comparison, report page, MLflow. Repeating it changes nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.study import Study
from tracking.outcomes import Outcome, read_outcomes

if TYPE_CHECKING:
    from tracking.collect import Collected

    from tracking.comparison import Comparison


@dataclass(frozen=True)
class Record:
    """The planned trials of a study as the logs have them now."""

    study: Study
    outcomes: tuple[Outcome, ...]

    @staticmethod
    def read(study: Study) -> "Record":
        outcomes = read_outcomes(study.layout.events, study.trials)
        return Record(study, tuple(outcomes[trial.id] for trial in study.trials))

    def compare(self) -> "Comparison":
        """Answer the questions of the sweep."""
        from tracking.compare import compare
        from tracking.comparison import Question

        questions = [Question(*pair) for pair in self.study.sweep.questions]
        return compare(self.study.sweep.study, self.outcomes, questions)

    def write_report(self, comparison: "Comparison") -> Path:
        """Write the report page and what stands beside it; returns the page."""
        from tracking.report import write_report

        return write_report(comparison, self.outcomes, self.study.layout.report)

    def collect(self, uri: str | None, break_lock: bool = False) -> "Collected":
        """Bring everything into MLflow, the report of this moment with it."""
        from tracking.collect import collect

        folder = self.study.layout.report
        note = folder / "report.md"
        return collect(
            self.study.layout,
            self.outcomes,
            uri=uri,
            report=folder if folder.exists() else None,
            note=note.read_text() if note.exists() else None,
            break_lock=break_lock,
        )
