"""The words of squeue and sacct for the state of a job, and what they mean. Asks nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jobs.contract.failures import FailureClass

State = Literal["queued", "running", "ended"]
# The name that a job was sent with, and the ids of its array and its task. Ids alone do not tell:
# a controller that was killed has forgotten its last seconds, and gives the ids of then again.
Key = tuple[str, int, int | None]

# All other states are of jobs that run. One that is suspended is among them: it still has its
# memory and its place, and goes on by itself.
_QUEUED = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
_ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"}
_ENDED |= {"OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"}

CANCELLED = "CANCELLED"  # the word of squeue, which never says by whom
BY_NOBODY = "CANCELLED by nobody"  # ours, if the accounting has no user for it either
_CANCELLER = re.compile(r"CANCELLED by (\d+)")

# What ended a job, if its state says it: what is behind FAILED or CANCELLED is found elsewhere.
_CLASSES: Mapping[str, FailureClass] = {
    **dict.fromkeys(("BOOT_FAIL", "NODE_FAIL"), "NODE_FAIL"),
    **dict.fromkeys(("DEADLINE", "TIMEOUT"), "TIMEOUT"),
    **dict.fromkeys(("PREEMPTED", "REVOKED"), "PREEMPTED"),
    "OUT_OF_MEMORY": "OOM_HOST",
    "GPU_FAULT": "GPU_FAULT",  # the word of a job itself
}


@dataclass(frozen=True)
class Ended:
    """The state in which a job ended, in the words of squeue, and the nodes that it had.

    `gained` says if it had got any further, and `why` what had ended it, if the job itself has
    written that down.
    """

    word: str
    nodes: str
    gained: bool | None = None
    why: str = ""


def parse_failure_class(word: str) -> FailureClass | None:
    """Return the class of failure that a state of squeue or sacct implies, None if it has none."""
    return _CLASSES.get(word.partition(" ")[0])


def is_cancelled(word: str) -> bool:
    """Return True if a state of squeue or sacct is that of a job that somebody has cancelled."""
    return word.partition(" ")[0].rstrip("+") == "CANCELLED"


def parse_canceller(word: str) -> int | None:
    """Return the user id of who has cancelled a job, None if the word does not say it."""
    match = _CANCELLER.fullmatch(word)
    return None if match is None else int(match[1])


def parse_state(word: str) -> State:
    """Return what a state of squeue or sacct means; a job in an unknown one counts as running."""
    name = word.partition(" ")[0]
    return "queued" if name in _QUEUED else "ended" if name in _ENDED else "running"
