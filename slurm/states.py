"""SLURM's words for the state of a job, in two tables: whether it lives, and what ended it."""

from collections.abc import Mapping
from typing import Literal

from jobs.failures import FailureClass

State = Literal["queued", "running", "ended"]

_STATES: Mapping[str, State] = {
    **dict.fromkeys(
        ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
        "queued",
    ),
    # Suspended, it still has its memory and its place: it goes on by itself.
    **dict.fromkeys(("CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED"), "running"),
    **dict.fromkeys(("RESIZING", "SIGNALING", "STAGE_OUT"), "running"),
    **dict.fromkeys(
        ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"), "ended"
    ),
    **dict.fromkeys(("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"), "ended"),
}

# What ended a job, where the word says it: that of FAILED or CANCELLED is looked for elsewhere.
_CLASSES: Mapping[str, FailureClass] = {
    **dict.fromkeys(("BOOT_FAIL", "NODE_FAIL"), "NODE_FAIL"),
    **dict.fromkeys(("DEADLINE", "TIMEOUT"), "TIMEOUT"),
    **dict.fromkeys(("PREEMPTED", "REVOKED"), "PREEMPTED"),
    "OUT_OF_MEMORY": "OOM_HOST",
}


def class_of(word: str) -> FailureClass | None:
    """Return the class of failure that a word of squeue or sacct tells by itself."""
    return _CLASSES.get(word.split()[0] if word.strip() else "")


def state_of(word: str) -> State:
    """Return what a word of squeue means; an unknown one is of a job that is believed to live."""
    return _STATES.get(word.split()[0] if word.strip() else "", "running")
