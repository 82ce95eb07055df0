"""When jobs would start, as lines of a plan and as JSON-ready records. Prints nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.study.estimate import in_words
from slurm.start_times import StartTime

_SOON_S = 60


def start_json(start: StartTime) -> dict[str, Any]:
    """Return when a job would start, the time with its zone."""
    time = None if start.time is None else start.time.isoformat()
    return {
        "shape": start.shape,
        "partition": start.partition,
        "time": time,
        "cpus": start.cpus,
        "refusal": start.refusal,
    }


def describe_starts(starts: Sequence[StartTime]) -> list[str]:
    """Return a line for each shape of jobs: the earliest start in each partition."""
    lines = []
    for shape in dict.fromkeys(one.shape for one in starts):
        here = [one for one in starts if one.shape == shape]
        known = sorted((one for one in here if one.time is not None), key=_time)
        parts = [_describe(one) for one in (*known, *(one for one in here if one.time is None))]
        first = ", whichever is first" if len(known) > 1 else ""
        lines.append(f"{'; '.join(parts)}{first} (sbatch --test-only)")
    return lines


def _time(start: StartTime) -> datetime:
    return start.time or datetime.max.replace(tzinfo=UTC)


def _describe(start: StartTime) -> str:
    where = "" if start.partition is None else f"{start.partition}: "
    if start.time is None:
        return f"{where}{start.refusal}"
    left_s = (start.time - datetime.now(UTC)).total_seconds()
    if left_s < _SOON_S:
        return f"{where}now"
    return f"{where}{start.time:%Y-%m-%d %H:%M}, in {in_words(left_s)}"
