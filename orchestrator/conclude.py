"""From logs to the answer: comparison, report page, MLflow. Repeating it changes nothing."""

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.discards import read_discards
from orchestrator.backends.records import BackendError, read_submissions
from orchestrator.stage import Stage, stage_of
from orchestrator.status import read_status
from orchestrator.study import Study
from thermolion.errors import OperationError
from tracking.outcomes import Outcome, read_outcomes

if TYPE_CHECKING:
    from tracking.browse import Commit
    from tracking.collect import Collected, Collector
    from tracking.comparison import Comparison
    from tracking.numbers_csv import Rows

_PATIENCE_S = 60  # another `run` of the study may have come to its end as well
_TRACKING_PACKAGES = ("jinja2", "matplotlib", "mlflow", "rich")


def require_tracking() -> None:
    """Raise OperationError unless the packages of the `tracking` extra are installed."""
    missing = [name for name in _TRACKING_PACKAGES if find_spec(name) is None]
    if missing:
        raise OperationError(
            f"{', '.join(missing)} is not installed: pip install 'thermolion[tracking]', or use "
            "`submit` here and conclude on another machine"
        )


@dataclass(frozen=True)
class Record:
    """The planned trials of a study as the logs have them now, and what was decided of them."""

    study: Study
    outcomes: tuple[Outcome, ...]
    stage: Stage

    @staticmethod
    def read(study: Study) -> "Record":
        stage, trials = stage_of(study)
        outcomes = read_outcomes(study.layout.events, trials, read_discards(study.layout))
        # As the sweep names them: a plan shuffles the candidates of a block.
        names = [candidate.name for candidate in study.sweep.candidates]
        ordered = sorted(trials, key=lambda trial: names.index(trial.candidate.declared))
        return Record(study, tuple(outcomes[trial.id] for trial in ordered), stage)

    def compare(self, complete: int | None = None) -> "Comparison":
        """Answer the questions of the sweep, by the looks that are decided, or `complete`."""
        from orchestrator.agreed import answered

        return answered(self.study, self.stage, self.outcomes, complete)

    def compare_if_possible(self) -> "Comparison | None":
        """Answer the questions, None where there is nothing to compare yet."""
        from tracking.compare import ComparisonError

        with contextlib.suppress(ComparisonError):
            return self.compare()
        return None

    def write_report(self, comparison: "Comparison") -> Path:
        """Write the report page and what stands beside it; returns the page."""
        from orchestrator.agreed import aimed
        from tracking.report import write_report

        outcomes = aimed(self.outcomes, self.stage)
        return write_report(comparison, outcomes, self.study.layout.report)

    def numbers(self) -> "Mapping[str, Rows]":
        """Return the tables that the report is written with, by their names."""
        from orchestrator.agreed import aimed
        from tracking.appendix import appendix
        from tracking.numbers_csv import numbers

        comparison = self.compare()
        made_of = comparison.seen(aimed(self.outcomes, self.stage))
        return numbers(comparison, appendix(comparison, made_of))

    def export(self, folder: Path, form: str) -> list[Path]:
        """Write the trials below `folder` in the format `form`; returns what was written."""
        from tracking.export import export

        return export(self.outcomes, folder, form)

    def collect(
        self,
        uri: str | None,
        break_lock: bool = False,
        restore: bool = False,
        comparison: "Comparison | None" = None,
        checkpoints: bool = False,
    ) -> "Collected":
        """Bring everything into MLflow, with the report and the verdicts of this moment."""
        from tracking.collect import Collector

        collector = Collector(self.study.layout, uri, restore, checkpoints)
        return self.collect_by(collector, break_lock, comparison or self.compare_if_possible())

    def collect_by(
        self,
        collector: "Collector",
        break_lock: bool = False,
        comparison: "Comparison | None" = None,
        lost: Collection[str] | None = None,
    ) -> "Collected":
        """Bring everything into the store of a collector, which may know it from before.

        `lost` are the ids of trials that run by their logs while their jobs have ended; None asks
        the backend, if there is a trial that runs.
        """
        folder = self.study.layout.report
        note = folder / "report.md"
        if lost is None:
            lost = self._lost()
        # What a look has spared is not missing: the study is finished without it.
        outcomes = [
            _ended(one) if one.trial.id in lost and one.state == "running" else one
            for one in self.outcomes
            if one.has_result or self.stage.wanted(one.trial) != "spared"
        ]
        return collector.bring(
            outcomes,
            report=folder if folder.exists() else None,
            note=note.read_text(encoding="utf-8") if note.exists() else None,
            comparison=comparison,
            break_lock=break_lock,
            wait_s=_PATIENCE_S,
            commits=self._commits(),
        )

    def _lost(self) -> Collection[str]:
        if all(one.state != "running" for one in self.outcomes):
            return ()
        try:
            return read_status(self.study).lost
        except BackendError:
            return ()  # whoever collects may be where no scheduler is: the logs have to do

    def _commits(self) -> "dict[str, Commit]":
        """Return, by submission, the commit that the user's code was at, where git knew one."""
        from tracking.browse import Commit

        submissions = read_submissions(self.study.layout)
        return {one.id: Commit(one.commit, one.dirty) for one in submissions if one.commit}


def _ended(outcome: Outcome) -> Outcome:
    """Return a lost trial as MLflow has to show it: nothing else would ever end its run."""
    heard = [outcome.started_ms or 0, *(point.time_ms for point in outcome.curve)]
    why = "lost: its job has ended without a word"
    return replace(outcome, state="interrupted", ended_ms=max(heard), error=why)
