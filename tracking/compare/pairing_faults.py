"""Faults of pairing: blocks whose trials are not alike but for the candidate, seeds not applied.

Reads outcomes; what follows from a fault is `blocks`'.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tracking.compare.endpoints import ComparisonError
from tracking.outcomes import Outcome

# What the trials of a block must share, or their difference is not one of candidates.
_SHARED = ("data", "split", "init", "order")

# Two curves of so many different values are not equal by chance, not even if the values are shares
# of a hundred images; shorter ones may be.
_TELLING_VALUES = 6


def find_mismatch(measured: Mapping[str, Outcome]) -> str | None:
    """Return a message if the trials of a block, by candidate, differ in what they must share."""
    mismatch = None
    for name in _SHARED:
        digests = {candidate: digest_of(outcome, name) for candidate, outcome in measured.items()}
        values = {candidate: value for candidate, value in digests.items() if value is not None}
        if len(set(values.values())) > 1:
            mismatch = (
                f"refused: the trials of this block differ in {name} ({list_by_name(values)})"
            )
    return mismatch


def refuse_twins(outcomes: Iterable[Outcome]) -> None:
    """Raise ComparisonError if two blocks of a workload are one, their seeds not applied.

    Such blocks have the same initial weights and order of data by their digests; if a training
    logs none, as the user's own, a candidate has the same curve on both, value by value.
    """
    blocks: dict[tuple[str, str, str], int] = {}
    for one in outcomes:
        workload, block = one.trial.workload.name, one.trial.block
        init, order = digest_of(one, "init"), digest_of(one, "order")
        if init is not None and order is not None:
            subject, identity = workload, f"{init} {order}"
            shared, advice = "initial weights and the same order of data", ""
        elif (trace := _trace(one)) is not None:
            subject, identity = f"{one.trial.candidate.name} on {workload}", trace
            shared = "curve, value by value"
            advice = "; let the training take its seed (`context.seed`, or {seed} in a command)"
        else:
            continue
        twin = blocks.setdefault((workload, subject, identity), block)
        if twin != block:
            raise ComparisonError(
                f"{subject}, blocks {twin} and {block} have the same {shared}: "
                f"their seeds were not applied, so they are one block{advice}"
            )


def digest_of(outcome: Outcome, name: str) -> str | None:
    """Return a digest that a trial has logged: of its data, its weights or its order."""
    value: str | None = (outcome.started.get("digests") or {}).get(name)
    return value


def list_by_name(values: Mapping[str, object]) -> str:
    """Return values with their names, as one text."""
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def _trace(outcome: Outcome) -> str | None:
    """Return a digest of all that a trial measured, None if that is too little to be unique."""
    if outcome.state != "completed":
        return None
    values = {value for p in outcome.curve for value in p.metrics.values() if math.isfinite(value)}
    if len(values) < _TELLING_VALUES:
        return None
    curve = repr([(p.step, sorted(p.metrics.items())) for p in outcome.curve])
    return hashlib.sha256(curve.encode()).hexdigest()


def find_mixtures(
    measured: Mapping[str, Outcome],
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield in what the trials of a block differ, by name: code, ways of reading, devices."""
    if _mixes_code([one.job for one in measured.values()]):
        yield "code", {name: one.job.get("code") for name, one in measured.items()}
    readings = {name: digest_of(one, "results") for name, one in measured.items()}
    devices = {name: one.job.get("device") for name, one in measured.items()}
    for kind, values in (("results", readings), ("device", devices)):
        if len(set(values.values())) > 1:
            yield kind, values


def _mixes_code(jobs: Sequence[Mapping[str, Any]]) -> bool:
    """Return True if jobs ran different code; a job without user code has no other version."""
    ours = {job.get("thermolion_code", job.get("code")) for job in jobs}
    with_users = {job["code"] for job in jobs if job.get("code") not in ours and "code" in job}
    return len(ours) > 1 or len(with_users) > 1
