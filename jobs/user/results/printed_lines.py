"""Points in what a script prints, found by the patterns of the sweep."""

import difflib
import re
from collections import deque
from collections.abc import Iterator

from jobs.contract.workloads.result_sources import LineMatch, LinePattern, PrintedLines
from jobs.user.results.merger import ReadPoint, ResultsError
from jobs.user.results.source import Source

_PART = re.compile(rb"[^\r\n]*[\r\n]")
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_LONGEST = 4_000  # characters of a line that are searched
_REMEMBERED = 500  # lines, of which the one most like a pattern is shown
_SHOWN = 160


class Lines:
    """Cuts output into lines, as a terminal would show them, each state of a progress bar too."""

    def __init__(self) -> None:
        self._rest = b""
        self._number = 1

    def split(self, data: bytes) -> Iterator[tuple[int, str]]:
        """Yield the number and the text of each line that has ended."""
        data = self._rest + data
        end = 0
        for part in _PART.finditer(data):
            end = part.end()
            yield self._number, _text(part.group()[:-1])
            self._number += part.group().endswith(b"\n")
        self._rest = data[end:]

    def end(self) -> Iterator[tuple[int, str]]:
        """Yield the last line, if it has no end."""
        if self._rest:
            yield self._number, _text(self._rest)
        self._rest = b""


class LineSource(Source):
    """Finds the points of one source in the lines of one trial.

    A metric without a step in its line is at the step that was found last; if no pattern has a
    step, the n-th value that a pattern finds is at step n.
    """

    reads_output, reads_files = True, False

    def __init__(self, source: PrintedLines) -> None:
        self._source = source
        self._has_steps = any(pattern.step_name for pattern in source.patterns)
        self._step = 0
        self._found: dict[LinePattern, int] = {}
        self._lines = 0
        self._remembered: deque[tuple[int, str]] = deque(maxlen=_REMEMBERED)

    def take_line(self, number: int, line: str, seconds: float | None) -> Iterator[ReadPoint]:
        if line.strip():
            self._lines += 1
            self._remembered.append((number, line))
        where = f"line {number} of the output"
        matches = [
            (pattern, match)
            for pattern in self._source.patterns
            if (match := _match(pattern, line, where)) is not None
        ]
        for pattern, match in matches:
            self._found[pattern] = self._found.get(pattern, 0) + 1
            self._step = self._step if match.step is None else match.step
        for pattern, match in matches:
            step = self._step if self._has_steps else self._found[pattern]
            yield ReadPoint(step, match.metrics, where, seconds)
        for pattern in self._source.final:
            match_at_end = _match(pattern, line, where)
            if match_at_end is not None:
                self._found[pattern] = self._found.get(pattern, 0) + 1
                yield ReadPoint(None, match_at_end.metrics, where, seconds)

    def explain(self, metric: str) -> str:
        patterns = [
            pattern
            for pattern in (*self._source.patterns, *self._source.final)
            if metric in pattern.metrics
        ]
        if not patterns:
            return f"no pattern of its printed lines has {metric}"
        (pattern, *_) = patterns
        if not self._lines:
            return f"it has printed no line that {pattern.text!r} could match"
        why = f"{pattern.text!r} matches none of the {self._lines} lines that it has printed"
        near = self._most_like(pattern)
        if near is not None:
            why += f"; line {near[0]} is the most like it: {near[1].strip()[:_SHOWN]!r}"
        return why

    def _most_like(self, pattern: LinePattern) -> tuple[int, str] | None:
        wanted = re.sub(r"\{\w*\}|\(\?P<\w+>[^)]*\)", "0", pattern.text)
        ratios = [
            (difflib.SequenceMatcher(None, wanted, line.strip()[:_SHOWN]).ratio(), -at)
            for at, (_, line) in enumerate(self._remembered)
        ]
        return self._remembered[-max(ratios)[1]] if ratios else None


def _match(pattern: LinePattern, line: str, where: str) -> LineMatch | None:
    try:
        return pattern.match(line)
    except ValueError as error:
        raise ResultsError(f"{where}, {line.strip()[:_SHOWN]!r}: {error}") from error


def _text(raw: bytes) -> str:
    return _COLOURS.sub("", raw.decode(errors="replace"))[:_LONGEST]
