"""The paths of a study on disk: this is their one builder.

Touches no file.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Paths of one study below a root that all studies share."""

    root: Path
    study: str

    @property
    def folder(self) -> Path:
        return self.root / self.study

    @property
    def sweep(self) -> Path:
        return self.folder / "sweep.yaml"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def decisions(self) -> Path:
        return self.folder / "decisions"

    @property
    def submissions(self) -> Path:
        return self.folder / "submissions"

    @property
    def events(self) -> Path:
        return self.folder / "events"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def report(self) -> Path:
        """Derived: may be deleted and rebuilt."""
        return self.folder / "report"

    @property
    def export(self) -> Path:
        """Derived, as the report."""
        return self.folder / "export"

    @property
    def mlflow_store(self) -> Path:
        """The embedded store of every study of the root."""
        return self.root / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlartifacts"

    def submission(self, submission: str) -> Path:
        return self.submissions / submission

    def pack(self, submission: str, pack: int) -> Path:
        return self.submission(submission) / "packs" / f"{pack}.json"

    def job_output(self, submission: str, pack: int) -> Path:
        """What the processes of a job print (stdout and stderr, all attempts)."""
        return self.submission(submission) / "output" / f"{pack}.log"

    def event_log(self, submission: str, pack: int, attempt: int, lane: int) -> Path:
        return self.events / f"{submission}-{pack}-{attempt}-{lane}.jsonl"

    def checkpoint(self, trial_id: str) -> Path:
        return self.checkpoints / f"{trial_id}.pt"

    def best_checkpoint(self, trial_id: str) -> Path:
        """The weights of the best point of the curve, if they are kept."""
        return self.checkpoints / f"{trial_id}.best.pt"
