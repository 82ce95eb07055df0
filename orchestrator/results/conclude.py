"""From logs to the answer: comparison, report page, MLflow, once or for as long as jobs live.

Repeating it changes nothing. The lock of the store is held for one pass, not while waiting for
the next, so that several may collect a study.
"""

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.contract.attempts import read_discards
from jobs.contract.lock import LockHeld
from orchestrator.backends.records import BackendError, read_submissions
from orchestrator.progress.status import read_status
from orchestrator.results.asked import Asked
from orchestrator.study.stage import Stage, read_stage
from orchestrator.study.study import Study
from tracking.outcomes import Outcome, read_outcomes

if TYPE_CHECKING:
    from tracking.compare.result import Comparison
    from tracking.mlflow_store.collect import Collected, Collector
    from tracking.report.numbers import Rows

_PATIENCE_S = 60  # another `run` of the study may have come to its end as well
_COLLECT_EVERY_S = 4.0  # a point of a curve is in MLflow within 15 s, the pass itself included
_SHARE_OF_A_CORE = 0.5  # what following may cost a large study
_MOST_PAUSE_S = 60.0


@dataclass(frozen=True)
class StudyResults:
    """The planned trials of a study as the logs have them now, and what was decided of them.

    `given_up` are the trials that will not run again, with their class of failure; None if that is
    to be found out. `asked` is what the command line asks in place of what was declared.
    """

    study: Study
    outcomes: tuple[Outcome, ...]
    stage: Stage
    given_up: Mapping[str, str] | None = None
    asked: Asked | None = None

    @staticmethod
    def read(study: Study) -> "StudyResults":
        stage, trials = read_stage(study)
        outcomes = read_outcomes(study.layout.events, trials, read_discards(study.layout))
        # As the sweep names them: a plan shuffles the candidates of a block.
        names = [candidate.name for candidate in study.sweep.candidates]
        ordered = sorted(trials, key=lambda trial: names.index(trial.candidate.declared))
        return StudyResults(study, tuple(outcomes[trial.id] for trial in ordered), stage)

    @property
    def shown(self) -> Sequence[Outcome]:
        """The outcomes as a report shows them: with the targets that were frozen."""
        from orchestrator.results.confirmatory import with_frozen_targets

        return self.outcomes if self.asked else with_frozen_targets(self.outcomes, self.stage)

    def ask(self, asked: Asked) -> "StudyResults":
        """Return the results as they are read for what is asked; raises SweepError."""
        return replace(self, outcomes=asked.read(self.outcomes), asked=asked)

    def compare(self, complete: int | None = None) -> "Comparison":
        """Answer the questions of the sweep, by the looks that are decided, or `complete`."""
        from orchestrator.results.confirmatory import answer_questions

        return answer_questions(
            self.study, self.stage, self.outcomes, complete, self.given_up, self.asked
        )

    def compare_if_possible(self) -> "Comparison | None":
        """Answer the questions; None if there is nothing to compare yet."""
        from tracking.compare.endpoints import ComparisonError

        with contextlib.suppress(ComparisonError):
            return self.compare()
        return None

    def write_report(
        self, comparison: "Comparison", hours: Sequence[tuple[str, str, str]] = ()
    ) -> Path:
        """Write the report page and its files; return the path of the page.

        `hours` are rows of what the study has taken, for the page.
        """
        from tracking.report.page import write_report

        return write_report(comparison, self.shown, self.study.layout.report, hours)

    def numbers(self) -> "Mapping[str, Rows]":
        """Return the tables that the report is written with, by their names."""
        from tracking.compare.appendix import compute_appendix
        from tracking.report.numbers import numbers

        comparison = self.compare()
        outcomes = comparison.select_outcomes(self.shown)
        return numbers(comparison, compute_appendix(comparison, outcomes))

    def export(self, folder: Path, form: str) -> list[Path]:
        """Write the trials below `folder` in the format `form`; return the paths written."""
        from tracking.export.export import export

        return export(self.outcomes, folder, form)

    def collect(
        self,
        collector: "Collector",
        comparison: "Comparison | None",
        break_lock: bool = False,
        lost: Collection[str] | None = None,
    ) -> "Collected":
        """Bring outcomes, report and verdicts into MLflow by a collector, new or used before.

        `lost` are the ids of trials that run by their logs while their jobs have ended; None asks
        the backend, if there is a trial that runs.
        """
        from tracking.mlflow_store.record import Commit

        folder = self.study.layout.report
        note = folder / "report.md"
        if lost is None:
            lost = self._find_lost()
        # What a look has skipped is not missing: the study is finished without it.
        outcomes = [
            _interrupt(one) if one.trial.id in lost and one.state == "running" else one
            for one in self.outcomes
            if one.has_result or self.stage.wanted(one.trial) != "spared"
        ]
        submissions = read_submissions(self.study.layout)
        commits = {one.id: Commit(one.commit, one.dirty) for one in submissions if one.commit}
        return collector.collect(
            outcomes,
            report=folder if folder.exists() else None,
            note=note.read_text(encoding="utf-8") if note.exists() else None,
            comparison=comparison,
            break_lock=break_lock,
            wait_s=_PATIENCE_S,
            commits=commits,
        )

    def _find_lost(self) -> Collection[str]:
        if all(one.state != "running" for one in self.outcomes):
            return ()
        try:
            return read_status(self.study).lost
        except BackendError:
            return ()  # this machine may have no scheduler: the logs have to do


def _interrupt(outcome: Outcome) -> Outcome:
    """Return a lost trial as interrupted: nothing else would ever end its run in MLflow."""
    times_ms = [outcome.started_ms or 0, *(point.time_ms for point in outcome.curve)]
    why = "lost: its job has ended without a word"
    return replace(outcome, state="interrupted", ended_ms=max(times_ms), error=why)


@dataclass(frozen=True)
class CollectFailure:
    """A pass that collected nothing; the next one follows after `pause_s`."""

    message: str
    pause_s: float


def keep_collecting(
    study: Study, collector: "Collector", break_lock: bool = False
) -> Iterator["Collected | CollectFailure"]:
    """Collect again and again; yield what each pass collected, or what it failed by.

    Ends with a pass after the last job has ended. Of failures in a row by one kind of exception
    the first is yielded. Raises CollectError if waiting cannot help.
    """
    from tracking.mlflow_store.collect import CollectError

    pause_s = _COLLECT_EVERY_S
    reported: type[Exception] | None = None
    while True:
        begin = time.process_time()  # waiting for a server costs no core
        try:
            status = read_status(study)  # first: whatever the last job brought is logged then
            alive = status.jobs_alive > 0
            results = StudyResults.read(study)
            comparison = None if alive else results.compare_if_possible()  # once: it takes seconds
            collected = results.collect(collector, comparison, break_lock, status.lost)
        except (BackendError, CollectError, LockHeld) as error:
            if isinstance(error, CollectError) and not error.may_pass:
                raise
            pause_s = min(2 * pause_s, _MOST_PAUSE_S)
            if type(error) is not reported:
                reported = type(error)
                yield CollectFailure(str(error), pause_s)
            time.sleep(pause_s)
            continue
        yield collected
        if not alive:
            return
        break_lock, pause_s, reported = False, _COLLECT_EVERY_S, None
        took = time.process_time() - begin
        time.sleep(max(_COLLECT_EVERY_S, took / _SHARE_OF_A_CORE))
