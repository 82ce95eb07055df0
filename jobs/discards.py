"""Results that a decision has taken back: which logs no longer speak for a trial.

Standard library only. Nothing is deleted: the logs keep what they say.
"""

import json
from collections.abc import Mapping

from jobs.events import LogError
from jobs.layout import Layout

VERSION = 1


def read_discards(layout: Layout) -> Mapping[str, frozenset[str]]:
    """Return, by trial id, the names of the event logs that no longer count for that trial.

    Raises LogError for a decision that is damaged or of a newer version.
    """
    discards: dict[str, frozenset[str]] = {}
    for decision in sorted(layout.decisions.glob("rerun-*.json")):
        try:
            record = json.loads(decision.read_text(encoding="utf-8"))
            if record["version"] > VERSION:
                raise LogError(f"{decision} is of a newer version: upgrade thermolion to read it")
            for trial, logs in record["discarded"].items():
                discards[trial] = discards.get(trial, frozenset()) | frozenset(logs)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LogError(
                f"{decision} is damaged ({error!r}): restore it from a backup, or move it away "
                "to count the earlier results again"
            ) from error
    return discards
