"""The results of one trial's script, read while it runs and once more at its end.

What a source cannot say is an error at the end alone: no training is ended because its results
cannot be read. Then what it has printed and written is kept, so that a corrected sweep reads it
without training again.
"""

import glob
import logging
import queue
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs.contract.command_template import fill_path
from jobs.contract.workloads.result_sources import PrintedLines, ResultSource, RowFiles
from jobs.user.results import private_store
from jobs.user.results.kept_run import KeptRun
from jobs.user.results.loggers import LOGGER_SOURCES
from jobs.user.results.merger import PointMerger, ReadPoint, ResultsError
from jobs.user.results.printed_lines import Lines, LineSource
from jobs.user.results.row_files import RowSource
from jobs.user.results.source import Place, Source, needed_metrics
from jobs.user.results.working_folder import make_working_folder
from jobs.worker.context import Context

_EVERY_S = 1.0  # between two looks into files, and at least:
_SHARE = 20  # times as long as a look takes

_log = logging.getLogger(__name__)


class ResultReader:
    """Reads the `results` of a workload, and logs what it finds.

    The script runs in `folder`: `code_root`, or a folder of the trial's own if results are read
    from files. `take_output` may be called by another thread than the rest; rank 0 alone reads.
    """

    def __init__(self, context: Context, code_root: Path) -> None:
        self._context, self._code_root = context, code_root
        self._declared = context.trial.user_workload.results
        self._has_folder = any(not isinstance(source, PrintedLines) for source in self._declared)
        self._kept = KeptRun(context.run_folder, context.code)
        self._sources: list[Source] = []
        self._merger = PointMerger(context)
        self._output: queue.SimpleQueue[tuple[bytes, float]] = queue.SimpleQueue()
        self._lines = Lines()
        self._log_lines = 0
        self._logged_final: dict[str, float] = {}
        self._error: ResultsError | None = None
        self._next_look_s = 0.0

    @property
    def folder(self) -> Path:
        """The folder that the script runs in."""
        return self._kept.work if self._has_folder else self._code_root

    @property
    def has_read(self) -> bool:
        """True if anything was read or logged."""
        return bool(self._declared) or self._log_lines > 0

    def prepare(self, values: Mapping[str, Any]) -> bool:
        """Make the folder that the script runs in; return True if it has run there before.

        Then it has ended well, its results could not be read, and what is left to do is
        `read_again`. `values` are those of the placeholders. All ranks call it alike.
        """
        if not self._declared:
            return False
        context, again = self._context, self._kept.has_ended
        if context.rank == 0 and not again:
            self._kept.begin()
            if self._has_folder:
                make_working_folder(self.folder, self._code_root)
        again, self._kept.name = context.group.broadcast((again, self._kept.name))
        place = Place(self.folder, self._kept.store, needed_metrics(context.trial))
        self._sources = [_make_source(source, values, place) for source in self._declared]
        if context.rank == 0 and not again:
            for path in (path for source in self._sources for path in source.files()):
                if path.is_symlink() and path.is_relative_to(self.folder):
                    path.unlink()  # results that are part of the code are none of this trial
            if any(source.reads_output for source in self._sources):
                self._kept.open_output()
        return bool(again)

    def environment(self) -> Mapping[str, str | None]:
        """Return the variables that make loggers write below `folder`; None takes one away."""
        if not self._has_folder:
            return {}
        return private_store.environment(self._kept.store)

    def read_again(self) -> dict[str, float]:
        """Read what an earlier attempt has left; return and raise as `finish` does."""
        if self._context.rank != 0:
            return {}
        self._context.resume_clock(self._kept.seconds)
        for data, seconds in self._kept.read_output():
            self._output.put((data, seconds))
        return self.finish()

    def keep(self) -> bool:
        """Keep what the script has left for `read_again`; return False if that is not possible."""
        self._kept.close_output()
        return self._kept.mark_ended(self._context.clock())

    def take_output(self, data: bytes) -> None:
        """Take what the script has printed."""
        if self._context.rank == 0 and any(source.reads_output for source in self._sources):
            seconds = self._context.clock()
            self._output.put((data, seconds))
            self._kept.append_output(data, seconds)

    def take_log(self, step: int | None, metrics: Mapping[str, float]) -> None:
        """Take what the script has logged to us, in a line of its log."""
        self._log_lines += 1
        if self._declared:
            origin = f"$THERMOLION_LOG:{self._log_lines}"
            self._merger.add("log", ReadPoint(step, metrics, origin))
        elif step is None:
            self._logged_final |= metrics
        else:
            self._context.log_values(step, metrics)

    def poll(self, *, now: bool = False) -> None:
        """Log what is new; raises Diverged for a value that ends the trial.

        Files are looked into from time to time, or `now`.
        """
        if self._context.rank != 0:
            return
        while not self._output.empty():
            data, seconds = self._output.get()
            for number, line in self._lines.split(data):
                self._read_line(number, line, seconds)
        begin = time.monotonic()
        if self._has_folder and (now or begin >= self._next_look_s):
            for number, source in enumerate(self._sources):
                with suppress(ResultsError, OSError):  # it may be half written: see `finish`
                    self._merge(number, source.poll(is_over=False))
            self._next_look_s = time.monotonic() + max(
                _EVERY_S, _SHARE * (time.monotonic() - begin)
            )

    def finish(self) -> dict[str, float]:
        """Log the rest, and return the final metrics, once the script has ended well.

        Raises ResultsError if a source cannot be read, sources contradict each other, or there is
        no value of a metric that the trial is read by.
        """
        if not self._declared:
            return self._logged_final
        self.poll()
        for number, line in self._lines.end():
            self._read_line(number, line, None)
        for position, source in enumerate(self._sources):
            try:
                self._merge(position, source.poll(is_over=True))
            except ResultsError as error:
                self._remember(error)
        self._merger.close_all()
        mistake = self._error or self._merger.error
        if mistake is not None:
            raise mistake
        spec = self._context.trial.workload.metric_spec
        for name in (spec.metric, spec.final_metric or spec.metric):
            if name not in self._merger.metrics:
                raise ResultsError(self._explain(name))
        return self._merger.final

    def close(self) -> None:
        """Close its files."""
        self._kept.close_output()

    def _read_line(self, number: int, line: str, seconds: float | None) -> None:
        for position, source in enumerate(self._sources):
            try:
                self._merge(position, source.take_line(number, line, seconds))
            except ResultsError as error:
                self._remember(error)

    def _merge(self, position: int, points: Iterator[ReadPoint]) -> None:
        for point in points:
            self._merger.add(position, point)

    def _remember(self, error: ResultsError) -> None:
        if self._error is None:
            _log.warning("results of trial %s: %s", self._context.trial.id, error)
            self._error = error

    def _explain(self, metric: str) -> str:
        """Say why there is no value of a metric."""
        reasons = [source.explain(metric) for source in self._sources]
        found = sorted(self._merger.metrics)
        return f"no value of {metric}: {'; '.join(reasons)}" + (
            f"; read: {', '.join(found)}" if found else ""
        )


def _make_source(source: ResultSource, values: Mapping[str, Any], place: Place) -> Source:
    if isinstance(source, PrintedLines):
        return LineSource(source)
    if isinstance(source, RowFiles):
        return RowSource(source, fill_path(source.path, values, glob.escape), place)
    base = place.folder / fill_path(source.path or ".", values)
    return LOGGER_SOURCES[source.logger](base, place)
