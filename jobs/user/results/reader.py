"""The results of one trial's script, read while it runs and once more at its end.

What a source cannot say is an error at the end alone: no training is ended because its results
cannot be read.
"""

import logging
import queue
from collections.abc import Mapping

from jobs.contract.workloads.result_sources import PrintedLines
from jobs.user.results.merger import PointMerger, ReadPoint, ResultsError
from jobs.user.results.printed_lines import LineReader, Lines
from jobs.worker.context import Context

_log = logging.getLogger(__name__)


class ResultReader:
    """Reads the `results` of a workload, and logs what it finds.

    `take_output` may be called by another thread than the rest.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._merger = PointMerger(context)
        self._output: queue.SimpleQueue[tuple[bytes, float]] = queue.SimpleQueue()
        self._lines = Lines()
        sources = context.trial.user_workload.results
        self._line_readers = [
            LineReader(source) for source in sources if isinstance(source, PrintedLines)
        ]
        self._has_sources = bool(sources)
        self._log_lines = 0
        self._logged_final: dict[str, float] = {}
        self._error: ResultsError | None = None

    @property
    def has_read(self) -> bool:
        """True if anything was read or logged."""
        return self._has_sources or self._log_lines > 0

    def take_output(self, data: bytes) -> None:
        """Take what the script has printed."""
        if self._line_readers:
            self._output.put((data, self._context.clock()))

    def take_log(self, step: int | None, metrics: Mapping[str, float]) -> None:
        """Take what the script has logged to us, in a line of its log."""
        self._log_lines += 1
        if self._has_sources:
            self._merger.add("log", ReadPoint(step, metrics, f"$THERMOLION_LOG:{self._log_lines}"))
            self._merger.close("log")
        elif step is None:
            self._logged_final |= metrics
        else:
            self._context.log_values(step, metrics)

    def poll(self) -> None:
        """Log what is new; raises Diverged for a value that ends the trial."""
        while not self._output.empty():
            data, seconds = self._output.get()
            for number, line in self._lines.split(data):
                self._read_line(number, line, seconds)

    def finish(self) -> dict[str, float]:
        """Log the rest, and return the final metrics, once the script has ended well.

        Raises ResultsError if a source cannot be read, sources contradict each other, or there is
        no value of a metric that the trial is read by.
        """
        if not self._has_sources:
            return self._logged_final
        self.poll()
        for number, line in self._lines.end():
            self._read_line(number, line, None)
        self._merger.close_all()
        error = self._error or self._merger.error
        if error is not None:
            raise error
        spec = self._context.trial.workload.metric_spec
        for name in dict.fromkeys((spec.metric, spec.final_metric or spec.metric)):
            if name not in self._merger.metrics:
                raise ResultsError(self._explain(name))
        return self._merger.final

    def _read_line(self, number: int, line: str, seconds: float | None) -> None:
        for reader in self._line_readers:
            try:
                for point in reader.read(number, line, seconds):
                    self._merger.add(reader, point)
            except ResultsError as error:
                self._remember(error)

    def _remember(self, error: ResultsError) -> None:
        if self._error is None:
            _log.warning("results of trial %s: %s", self._context.trial.id, error)
            self._error = error

    def _explain(self, metric: str) -> str:
        """Say why there is no value of a metric."""
        reasons = [reader.explain(metric) for reader in self._line_readers]
        found = ", ".join(sorted(self._merger.metrics)) or "nothing"
        return f"no value of {metric}: {'; '.join(reasons)}; found: {found}"
