"""The files of decisions: one for each decision, written once and never changed.

Each has the hash of the results that it was made from. Decides nothing itself.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jobs.contract.atomic_write import write_once
from jobs.contract.events import LogError
from jobs.contract.layout import Layout
from tracking.outcomes import Outcome

VERSION = 1
ANALYSIS = "analysis"


def write_decision(layout: Layout, name: str, kind: str, **record: Any) -> bool:
    """Write a decision; return False if there is one of its name already, which stays."""
    layout.decisions.mkdir(parents=True, exist_ok=True)
    whole = {"version": VERSION, "kind": kind, "time_ms": time.time_ns() // 1_000_000} | record
    return write_once(layout.decisions / f"{name}.json", json.dumps(whole, indent=1) + "\n")


def read_decision(layout: Layout, name: str) -> Mapping[str, Any] | None:
    """Return a decision, None if there is none; raises LogError if it cannot be read."""
    path = layout.decisions / f"{name}.json"
    try:
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        newer = record["version"] > VERSION
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LogError(
            f"{path} is damaged ({error!r}): restore it from a backup; what was decided before "
            "the trials cannot be decided again"
        ) from error
    if newer:
        raise LogError(f"{path} is of a newer version: upgrade thermolion to read it")
    return record


def read_numbered(layout: Layout, name: Callable[[int], str]) -> tuple[Mapping[str, Any], ...]:
    """Return the decisions `name(1)`, `name(2)` and so on, up to the first that is missing."""
    records: list[Mapping[str, Any]] = []
    while (record := read_decision(layout, name(len(records) + 1))) is not None:
        records.append(record)
    return tuple(records)


def inputs_hash(outcomes: Iterable[Outcome]) -> str:
    """Return the sha256 of all results of these trials, in whatever order they come."""
    whole = hashlib.sha256()
    for one in sorted(outcomes, key=lambda one: one.trial.id):
        curve = [(point.step, sorted(point.metrics.items())) for point in one.curve]
        result = (one.trial.id, one.state, sorted(one.metrics.items()), curve)
        whole.update(repr(result).encode() + b"\n")
    return whole.hexdigest()


def name_analysis(number: int) -> str:
    """Return the name of the decision that froze an analysis for the `number`-th time."""
    return ANALYSIS if number == 1 else f"{ANALYSIS}-{number}"
