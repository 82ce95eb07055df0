"""What ended a trial's last attempt and what is next for it, in words. Prints nothing."""

from collections.abc import Sequence
from typing import Any

from orchestrator.failures import Failure
from orchestrator.status import Standing, Status

_LONGEST = 3  # nodes and candidates named in a line


def prospect_json(standing: Standing) -> dict[str, Any]:
    """Return class, cause, node and what is next, as fields of a trial."""
    failure = standing.failure
    kind = "DIVERGED" if standing.state == "diverged" else failure and failure.kind
    return {
        "class": kind,
        "why": failure and failure.why,
        "node": failure.node if failure else standing.outcome.job.get("host"),
        "next": next_step(standing),
    }


def next_step(standing: Standing) -> str | None:
    """Say what happens to a trial that has no result and no living job; None of any other."""
    if standing.outcome.has_result or standing.in_flight:
        return None
    if standing.wanted != "now":
        return "waits for a decision" if standing.wanted == "later" else "never runs: it is spared"
    if not standing.goes_again:
        return "left alone until `thermolion retry`"
    failure = standing.failure
    return "the next submit sends it" + ("" if failure is None else _how(failure))


def reason(standing: Standing) -> str:
    """Return class, node, attempts and what is next in a line; empty where there is nothing."""
    failure = standing.failure
    if failure is None or standing.in_flight:
        return ""
    where = "" if failure.node is None else f" on {failure.node}"
    count = standing.outcome.attempts
    tries = f" in attempt {count}" if count > 1 else ""
    told = "" if standing.outcome.error else f": {failure.why.splitlines()[0]}"
    return f"[{failure.kind}{where}{tries}{told}; {next_step(standing)}]"


def group_lines(status: Status) -> list[str]:
    """Return a line for every class of what ended without an exception, and what is next."""
    alike: dict[tuple[str, bool], list[Standing]] = {}
    for standing in status.unfinished:
        if standing.failure is not None and standing.state != "failed":
            key = standing.failure.kind, standing.goes_again
            alike.setdefault(key, []).append(standing)
    return [_group(kind, members) for (kind, _), members in alike.items()]


def _group(kind: str, members: Sequence[Standing]) -> str:
    nodes = [s.failure.node for s in members if s.failure is not None and s.failure.node]
    where = f" on {_listed(nodes)}" if nodes else ""
    who = _listed([s.outcome.trial.candidate.name for s in members])
    first = members[0]
    why = first.failure.why.splitlines()[0] if first.failure and first.failure.why else ""
    return (
        f"{len(members)} ended by {kind}{where} ({who}), for example {first.outcome.trial.id}: "
        f"{why}; {next_step(first)}"
    )


def _listed(names: Sequence[str]) -> str:
    known = list(dict.fromkeys(names))
    more = f" and {len(known) - _LONGEST} more" if len(known) > _LONGEST else ""
    return ", ".join(known[:_LONGEST]) + more


def _how(failure: Failure) -> str:
    parts = []
    if failure.need.mem != 1:
        parts.append(f"with {failure.need.mem:g} times the memory")
    if failure.need.time != 1:
        parts.append(f"with {failure.need.time:g} times the time")
    if failure.retries is not None and failure.used:
        parts.append(f"retry {failure.used} of {failure.retries}")
    return f" ({', '.join(parts)})" if parts else ""
