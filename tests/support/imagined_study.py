"""A study whose trials end as soon as they are wanted: logs without any training."""

import math
from collections.abc import Callable, Collection
from pathlib import Path

from jobs.contract.events import EventLog
from jobs.contract.trial import Trial
from orchestrator.progress.status import read_status
from orchestrator.study.study import Study, open_study
from orchestrator.submit.decide import decide

Score = Callable[[Trial], float | None]


class ImaginedStudy:
    """`score` is the last validation value of a trial, and its test value as well.

    A trial has diverged if that is not finite, and failed for good if it is None.
    """

    def __init__(self, folder: Path, text: str, score: Score) -> None:
        self._folder, self._score, self._logs = folder, score, 0
        self.study: Study
        self.edit(text)

    def edit(self, text: str) -> None:
        """Go on with another sweep of the same study."""
        path = self._folder / "imagined.yaml"
        path.write_text(text)
        self.study = open_study(str(path), self._folder / "studies")
        self.study.record()

    @property
    def decisions(self) -> set[str]:
        return {path.stem for path in self.study.layout.decisions.glob("*.json")}

    @property
    def states(self) -> dict[str, str]:
        """The states of all trials that are planned, by id."""
        return {trial_id: one.state for trial_id, one in read_status(self.study).planned.items()}

    def decide(self) -> None:
        """Take all decisions that are due."""
        while decide(self.study, read_status(self.study)):
            pass

    def end(self, which: Callable[[Trial], bool] = lambda _: True) -> list[Trial]:
        """End the trials that are to run now, as far as they are chosen; return them."""
        planned = read_status(self.study).planned.values()
        trials = [one.outcome.trial for one in planned if one.state == "waiting"]
        chosen = [trial for trial in trials if which(trial)]
        self._write(chosen)
        return chosen

    def run(self, most: int = 30) -> None:
        """End all that is wanted and decide what is due, until there is nothing left."""
        for _ in range(most):
            self.decide()
            if not self.end():
                return
        raise AssertionError(f"after {most} rounds there is still something to run")

    def _write(self, trials: Collection[Trial]) -> None:
        log = EventLog(self.study.layout.event_log(f"s{self._logs:03d}", 0, 0, 0), 0, free_bytes=0)
        self._logs += 1
        log.append("opened", submission="s1", pack=0, lane=0, host="n1", device="cpu", code="c0")
        for trial in trials:
            value = self._score(trial)
            log.append("started", trial.id, config=trial.to_json(), token="t")
            if value is None:
                why = {"kind": "ValueError", "error": "too much for it", "traceback": "…"}
                log.append("failed", trial.id, **why, config=trial.to_json())
                continue
            if not math.isfinite(value):
                log.append("diverged", trial.id, step=0, metrics={}, error=f"val is {value}")
                continue
            for step in (0, 1):
                metrics = {"val": value * (0.9 + 0.1 * step), "test": value}
                log.append("evaluated", trial.id, step=step, train_seconds=1.0, metrics=metrics)
            log.append("completed", trial.id, step=1, train_seconds=1.0, metrics={"test": value})
        log.close()
