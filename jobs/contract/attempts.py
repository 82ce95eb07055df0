"""Attempts at the trials of a study: which are newest, which have ended and how, by the logs.

Also says which results a decision has discarded, and which failures hold back the rest of a
submission. Derived from the logs at each refresh, so that all lanes agree; writes nothing.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.contract import events
from jobs.contract.events import LogError
from jobs.contract.failures import classify_exception, find_cause
from jobs.contract.layout import Layout
from jobs.contract.trial import Trial

DISCARDS_VERSION = 1
_TYPES = (events.STARTED, events.MEASURED, events.COMPLETED, events.DIVERGED, events.FAILED)
# A line is parsed only if it holds one of these: evaluations, which are many, are skipped.
_MARKS = tuple(f'"type":"{name}"'.encode() for name in _TYPES)
_MARK_WITHIN = 64  # bytes: the type is the second field of a line


@dataclass(frozen=True, order=True)
class Attempt:
    """One attempt at a trial; of two, the greater one is the newer, and continues.

    `generation` counts the attempts that were known when it began. Two that began in the same
    moment have the same generation: then the token decides.
    """

    generation: int
    token: str


@dataclass(frozen=True)
class LoggedEnd:
    """How a trial ended in a submission; `signature` is equal for failures of one cause.

    It is None for a trial with a result.
    """

    workload: str
    candidate: str
    signature: str | None = None
    error: str = ""
    traceback: str = ""


class Attempts:
    """What all event logs of a study say of attempts, results and failures.

    `discarded` names, by trial, the logs that no longer count for it (`read_discards`).
    """

    def __init__(self, folder: Path, discarded: Mapping[str, frozenset[str]]) -> None:
        self._folder = folder
        self._discarded = discarded
        self._read_to: dict[str, int] = {}
        self._newest: dict[str, Attempt] = {}
        self._counts: dict[str, int] = {}
        self._done: set[str] = set()
        self._labels: dict[str, Mapping[str, Any]] = {}
        self._ends: dict[str, dict[str, LoggedEnd]] = {}
        self._measured: dict[tuple[str, int], dict[str, tuple[float, bool]]] = {}

    def refresh(self) -> "Attempts":
        """Read what has been appended since the last call."""
        for log in sorted(self._folder.glob("*.jsonl")):
            for record in self._read_appended(log):
                self._apply(record, log.name)
        return self

    def newest(self, trial: str) -> Attempt | None:
        """Return the newest attempt at a trial that any log knows of."""
        return self._newest.get(trial)

    def next_generation(self, trial: str) -> int:
        """Return the generation of an attempt that begins now."""
        newest = self._newest.get(trial)
        return max(self._counts.get(trial, 0), 0 if newest is None else newest.generation + 1)

    def is_done(self, trial: str) -> bool:
        """Return True if a trial has a result that counts."""
        return trial in self._done

    def ends(self, submission: str) -> Mapping[str, LoggedEnd]:
        """Return, by id, how trials ended in a submission."""
        return self._ends.get(submission, {})

    def at_rung(self, competitors: str, rung: int) -> Mapping[str, tuple[float, bool]]:
        """Return, by trial, the value of each competitor at a rung, and True if it went on."""
        return self._measured.get((competitors, rung), {})

    def _read_appended(self, log: Path) -> Iterator[dict[str, Any]]:
        begin = self._read_to.get(log.name, 0)
        try:
            if log.stat().st_size <= begin:
                return
            with log.open("rb") as file:
                file.seek(begin)
                data = file.read()
        except FileNotFoundError:
            return  # the study is being removed
        data = data[: data.rfind(b"\n") + 1]  # the last line is still being written
        self._read_to[log.name] = begin + len(data)
        for line in data.splitlines():
            if any(mark in line[:_MARK_WITHIN] for mark in _MARKS):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise LogError(f"{log} is damaged: {error}") from error

    def _apply(self, record: Mapping[str, Any], log: str) -> None:
        trial = record["trial"]
        if log in self._discarded.get(trial, ()):
            return
        if record["type"] == events.MEASURED:
            reached = self._measured.setdefault((record["rivals"], record["rung"]), {})
            reached.setdefault(trial, (record["value"], record["goes_on"]))
            return
        if "config" in record:
            self._labels[trial] = record["config"]["labels"]
        if record["type"] == events.STARTED:
            count = self._counts.get(trial, 0)
            self._counts[trial] = count + 1
            # Logs of an early version have no generations: the order of reading replaces them.
            attempt = Attempt(record.get("generation", count), record.get("token", ""))
            self._newest[trial] = max(attempt, self._newest.get(trial, attempt))
            return
        labels = self._labels.get(trial, {})
        # All settings of a candidate count as one: a learning rate is hardly ever the cause.
        candidate = labels.get("setting_of") or labels.get("candidate", "")
        end = LoggedEnd(labels.get("workload", ""), candidate)
        if record["type"] == events.FAILED:
            if classify_exception(record.get("kind"), record.get("error")) == "GPU_FAULT":
                return  # it says nothing of the trial, nor of others
            error, traceback = record.get("error") or "", record.get("traceback") or ""
            signature = find_cause(record.get("kind"), error, traceback)
            end = replace(end, signature=signature, error=error, traceback=traceback)
        else:
            self._done.add(trial)
        self._ends.setdefault(log.rsplit("-", 3)[0], {})[trial] = end


def read_discards(layout: Layout) -> Mapping[str, frozenset[str]]:
    """Return, by trial id, the names of the event logs that no longer count for that trial.

    Raises LogError for a decision that is damaged or of a newer version.
    """
    discards: dict[str, frozenset[str]] = {}
    for decision in sorted(layout.decisions.glob("rerun-*.json")):
        try:
            record = json.loads(decision.read_text(encoding="utf-8"))
            if record["version"] > DISCARDS_VERSION:
                raise LogError(f"{decision} is of a newer version: upgrade thermolion to read it")
            for trial, logs in record["discarded"].items():
                discards[trial] = discards.get(trial, frozenset()) | frozenset(logs)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LogError(
                f"{decision} is damaged ({error!r}): restore it from a backup, or move it away "
                "to count the earlier results again"
            ) from error
    return discards


def find_common_failure(
    trial: Trial, ends: Mapping[str, LoggedEnd], patience: int
) -> LoggedEnd | None:
    """Return the failure for which `trial` should be held back, None if it may run.

    `ends` are the trials of the submission that have ended so far. It is held once `patience` of
    them have failed with one signature, and none of these has ended otherwise: those of its own
    candidate (all settings of a tuned one) on its own workload, or all there are, if they are of
    more than one candidate. A `patience` of 0 holds nothing.
    """
    label = (trial.workload.name, trial.candidate.declared)
    groups = [[end for end in ends.values() if (end.workload, end.candidate) == label]]
    if len({end.candidate for end in ends.values()}) > 1:
        groups.append(list(ends.values()))
    for group in groups:
        common = len({end.signature for end in group}) == 1 and group[0].signature is not None
        if common and 0 < patience <= len(group):
            return group[0]
    return None
