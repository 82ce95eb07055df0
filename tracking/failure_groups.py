"""Failures by cause: trials that failed alike make one group.

Reads outcomes alone; decides nothing about what is sent again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.contract.failures import find_cause
from tracking.outcomes import Outcome


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one cause: `error` and `example` are those of the first of them."""

    kind: str
    error: str
    count: int
    example: Outcome
    candidates: tuple[str, ...]
    workloads: tuple[str, ...]


def group_failures(outcomes: Iterable[Outcome]) -> list[FailureGroup]:
    """Group the failed trials by cause, the most frequent first."""
    alike: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.state == "failed":
            alike.setdefault(
                find_cause(outcome.kind, outcome.error, outcome.traceback), []
            ).append(outcome)
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
