"""What a source of results is to the reader: lines that it looks at, files that it looks into."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jobs.contract.trial import Trial
from jobs.user.results.merger import ReadPoint


class Place(NamedTuple):
    """Where a trial's script runs: its working `folder`, and the `store` of its own MLflow.

    `needed` are the metrics that the trial is read by.
    """

    folder: Path
    store: Path
    needed: frozenset[str]

    def show(self, path: Path) -> str:
        """Return a path as the script would write it."""
        return str(path.relative_to(self.folder) if path.is_relative_to(self.folder) else path)


class Source:
    """One source of one trial; what it does not have, it does not say."""

    reads_output = False
    reads_files = True

    def take_line(self, number: int, line: str, seconds: float | None) -> Iterator[ReadPoint]:
        """Yield the points in a printed line; raises ResultsError for a value that is none."""
        del number, line, seconds
        return iter(())

    def poll(self, is_over: bool) -> Iterator[ReadPoint]:
        """Yield the points in files that are new; all there are once the script `is_over`.

        Raises ResultsError for what cannot be read, which says nothing before the script is over:
        it may be half written.
        """
        del is_over
        return iter(())

    def files(self) -> list[Path]:
        """Return the files that it would read now."""
        return []

    def explain(self, metric: str) -> str:
        """Say why there is no value of `metric`, after the last `poll`."""
        raise NotImplementedError


def needed_metrics(trial: Trial) -> frozenset[str]:
    """Return the metrics that a trial is read by."""
    spec, limit = trial.workload.metric_spec, trial.workload.diverged
    limited = () if limit is None else (limit.metric,)
    return frozenset((spec.metric, spec.final_metric or spec.metric, *limited))
