"""Where the results of a script are read that knows nothing of us: sources, as trials carry them.

A line pattern is checked here when a sweep is planned, and matched here when a trial runs. Reads
no file.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from jobs.contract.workloads.catalog import DataError, check_known

Logger = Literal["tensorboard", "mlflow", "lightning", "huggingface"]
LOGGERS: tuple[Logger, ...] = get_args(Logger)
STEP_NAMES = ("step", "epoch")  # the placeholders that stand for a step

_NUMBER = r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|inf(?:inity)?|nan)"
_MARK = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_EXAMPLES = "'Epoch {step}: acc={val_accuracy}', or the regex 'acc[= ](?P<val_accuracy>[0-9.]+)'"


@dataclass(frozen=True)
class LineMatch:
    """What a pattern has found in one line: a step, if it has one, and metrics by name."""

    step: int | None
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class LinePattern:
    """A pattern of printed lines: text with `{placeholders}`, or a regex with named groups.

    `step` or `epoch` is the step, every other name a metric; `{}` is whatever is there. Spaces of
    a text stand for any number of them. Raises DataError once it is used, if it cannot be read.
    """

    text: str

    @cached_property
    def regex(self) -> "re.Pattern[str]":
        """The pattern, compiled."""
        source = self.text if "(?P<" in self.text else _translate(self.text)
        try:
            regex = re.compile(source)
        except re.error as error:
            raise DataError(
                f"the pattern {self.text!r} is no regex that Python can read: {error}; write "
                f"{_EXAMPLES}"
            ) from error
        if not regex.groupindex:
            raise DataError(f"the pattern {self.text!r} names no metric: write {_EXAMPLES}")
        both = [name for name in STEP_NAMES if name in regex.groupindex]
        if len(both) > 1:
            raise DataError(
                f"the pattern {self.text!r} has both step and epoch: keep the one that you count "
                "in, and write {} (in a regex a group without a name) for the other"
            )
        return regex

    @property
    def step_name(self) -> str | None:
        """`step` or `epoch`, whichever it has; None if it has no step."""
        return next((name for name in STEP_NAMES if name in self.regex.groupindex), None)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of its metrics."""
        return tuple(name for name in self.regex.groupindex if name not in STEP_NAMES)

    def match(self, line: str) -> LineMatch | None:
        """Return what it finds in a line, None for nothing; raises ValueError for no number."""
        found = self.regex.search(line)
        if found is None:
            return None
        groups = {name: text for name, text in found.groupdict().items() if text is not None}
        step = next((_whole(groups.pop(name)) for name in STEP_NAMES if name in groups), None)
        return LineMatch(step, {name: _number(name, text) for name, text in groups.items()})


@dataclass(frozen=True)
class PrintedLines:
    """What the script prints: `patterns` of the curve, and those of final metrics."""

    patterns: tuple[LinePattern, ...]
    final: tuple[LinePattern, ...] = ()

    @property
    def metrics(self) -> frozenset[str]:
        """All metrics that its patterns name."""
        every = (*self.patterns, *self.final)
        return frozenset(name for pattern in every for name in pattern.metrics)

    def check(self) -> None:
        """Raise DataError for a pattern that cannot be read, and for two units of steps."""
        for pattern in self.final:
            if pattern.step_name is not None:
                raise DataError(
                    f"the pattern {pattern.text!r} is of final metrics, which have no "
                    f"{pattern.step_name}: write {{}} there, or move it to `lines`"
                )
        units = {pattern.step_name for pattern in self.patterns} - {None}
        if len(units) > 1:
            raise DataError(
                "one pattern counts in steps and another in epochs: keep one unit, and write {} "
                "(in a regex a group without a name) for the other"
            )
        if not self.metrics:
            raise DataError(f"no pattern names a metric: write {_EXAMPLES}")

    def to_json(self) -> dict[str, Any]:
        final = {"final": [pattern.text for pattern in self.final]} if self.final else {}
        return {"lines": [pattern.text for pattern in self.patterns]} | final


@dataclass(frozen=True)
class RowFiles:
    """Files of rows that match `path`, a glob: CSV, JSON or JSON lines, by their suffix.

    `step` is the column that has the step; None for the first of `step`, `epoch` and the like.
    """

    path: str
    step: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"file": self.path} | ({} if self.step is None else {"step": self.step})


@dataclass(frozen=True)
class LoggerFiles:
    """What a logger of the script's own leaves below `path`; None for wherever it writes."""

    logger: Logger
    path: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"logger": self.logger} | ({} if self.path is None else {"path": self.path})


ResultSource = PrintedLines | RowFiles | LoggerFiles


def sources_from_json(records: Iterable[Mapping[str, Any]]) -> tuple[ResultSource, ...]:
    """Rebuild sources from their `to_json`."""
    return tuple(_source(record) for record in records)


def _source(record: Mapping[str, Any]) -> ResultSource:
    if "lines" in record:
        return PrintedLines(_patterns(record["lines"]), _patterns(record.get("final", ())))
    if "file" in record:
        return RowFiles(record["file"], record.get("step"))
    check_known(record["logger"], LOGGERS, "logger")
    return LoggerFiles(record["logger"], record.get("path"))


def _patterns(texts: Sequence[str]) -> tuple[LinePattern, ...]:
    return tuple(map(LinePattern, texts))


def _translate(text: str) -> str:
    """Return the regex of a text with placeholders; raises DataError for one that is malformed."""
    source, at, seen = "", 0, set()
    for mark in _MARK.finditer(text):
        source += _literal(text[at : mark.start()])
        at, name = mark.end(), mark.group(1)
        if name is None:
            if mark.group() in ("{", "}"):
                raise DataError(
                    f"the pattern {text!r} has a single {mark.group()!r}: double it if it is "
                    f"meant as it is ({mark.group() * 2})"
                )
            source += re.escape(mark.group()[0])
        elif not name:
            source += r".*?"
        elif not name.isidentifier() or name in seen:
            why = "twice" if name in seen else "which is no name (letters, digits and _)"
            raise DataError(f"the pattern {text!r} has {{{name}}} {why}: write {_EXAMPLES}")
        else:
            seen.add(name)
            value = r"\d+" if name in STEP_NAMES else f"(?i:{_NUMBER})"
            source += f"(?P<{name}>{value})"
    return source + _literal(text[at:])


def _literal(text: str) -> str:
    return r"\s+".join(map(re.escape, re.split(r"\s+", text)))


def _whole(text: str) -> int:
    number = _number("the step", text)
    if not number.is_integer() or number < 0:
        raise ValueError(f"the step is {text!r}, it must be a whole number, 0 or more")
    return int(number)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}, which is no number") from None
