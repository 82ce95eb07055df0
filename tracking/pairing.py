"""What must hold of the trials of a block, and of two blocks, before their results are compared.

A difference is one of candidates only if everything else is shared, and blocks are repetitions
only if their seeds were applied. Looks at outcomes; estimates nothing.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping

from tracking.endpoints import ComparisonError
from tracking.outcomes import Outcome

# What the trials of a block must share, or their difference is not one of candidates.
_SHARED = ("data", "split", "init", "order")

# A curve of so many different values does not come twice by chance, not even a curve of shares of
# a hundred images; a shorter one might.
_TELLING_VALUES = 6


def mismatch(measured: Mapping[str, Outcome]) -> str | None:
    """Say in what the trials of a block, by candidate, differ that they must share."""
    said = None
    for name in _SHARED:
        values = {
            candidate: found
            for candidate, outcome in measured.items()
            if (found := digest(outcome, name)) is not None
        }
        if len(set(values.values())) > 1:
            said = f"refused: the trials of this block differ in {name} ({listed(values)})"
    return said


def refuse_twins(outcomes: Iterable[Outcome]) -> None:
    """Raise ComparisonError where two blocks of a workload are one, their seeds not applied.

    That is told by the digests of initial weights and order of data; where a training has none,
    as the user's own, by curves that are alike in every value.
    """
    starts: dict[tuple[str, str, str], int] = {}
    traces: dict[tuple[str, str, bytes], int] = {}
    for one in outcomes:
        workload, block = one.trial.workload.name, one.trial.block
        init, order = digest(one, "init"), digest(one, "order")
        if init is not None and order is not None:
            twin = starts.setdefault((workload, init, order), block)
            if twin != block:
                raise ComparisonError(
                    f"{workload}, blocks {twin} and {block} have the same initial weights and "
                    "the same order of data: their seeds were not applied, so they are one "
                    "block"
                )
            continue
        trace = _trace(one)
        if trace is not None:
            candidate = one.trial.candidate.name
            twin = traces.setdefault((workload, candidate, trace), block)
            if twin != block:
                raise ComparisonError(
                    f"{candidate} on {workload}, blocks {twin} and {block} have the same curve, "
                    "value by value: the seed was not applied, so they are one block; let the "
                    "training take its seed (`context.seed`, or {seed} in a command)"
                )


def digest(outcome: Outcome, name: str) -> str | None:
    found: str | None = (outcome.started.get("digests") or {}).get(name)
    return found


def listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def _trace(outcome: Outcome) -> bytes | None:
    """Return a digest of all that a trial measured, None where that is too little to tell."""
    if outcome.state != "completed":
        return None
    values = {value for p in outcome.curve for value in p.metrics.values() if math.isfinite(value)}
    if len(values) < _TELLING_VALUES:
        return None
    said = repr([(p.step, sorted(p.metrics.items())) for p in outcome.curve])
    return hashlib.sha256(said.encode()).digest()
