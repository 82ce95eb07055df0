"""Failures by cause: trials that failed alike make one group.

Reads outcomes alone; decides nothing about what is sent again.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tracking.outcomes import Outcome

# As Python prints a frame; within a group of exceptions it is indented by bars.
_FRAME = re.compile(r'^[ |]*File "(?P<file>[^"]+)", line (?P<line>\d+)', re.MULTILINE)
# What differs between failures of one cause: addresses, paths, digests, numbers.
_VARYING = re.compile(r"0x[0-9a-fA-F]+|(?:\.{0,2}/[^\s:'\",)]+)+|\b[0-9a-f]{8,}\b|\d+(?:\.\d+)?")


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one cause: `error` and `example` are those of the first of them."""

    kind: str
    error: str
    count: int
    example: Outcome
    candidates: tuple[str, ...]
    workloads: tuple[str, ...]


def signature(outcome: Outcome) -> str:
    """Return the text that failures of one cause have in common.

    It has their class and the place that raised or, without a traceback, the class and the error
    without its numbers and paths. The place is a file's name and line: its folder differs between
    snapshots of one code.
    """
    kind = outcome.kind or ""
    frames = list(_FRAME.finditer(outcome.traceback or ""))
    if frames:
        path = frames[-1]["file"].replace("\\", "/")
        return f"{kind} at {path.rpartition('/')[2]}:{frames[-1]['line']}"
    return f"{kind}: {_VARYING.sub('#', outcome.error or '')}"


def group_failures(outcomes: Iterable[Outcome]) -> list[FailureGroup]:
    """Group the failed trials by cause, the most frequent first."""
    alike: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.state == "failed":
            alike.setdefault(signature(outcome), []).append(outcome)
    groups = [
        FailureGroup(
            kind=members[0].kind or "",
            error=members[0].error or "",
            count=len(members),
            example=members[0],
            candidates=tuple(dict.fromkeys(one.trial.candidate.name for one in members)),
            workloads=tuple(dict.fromkeys(one.trial.workload.name for one in members)),
        )
        for members in alike.values()
    ]
    return sorted(groups, key=lambda one: -one.count)
