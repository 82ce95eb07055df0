"""How an attempt at a trial has ended: on one rank, and as a whole.

Standard library only; logs nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

State = Literal["completed", "diverged", "failed", "interrupted", "superseded", "unlogged"]

_DIFFER = "ReplicasDiffer"
RANK_DIED = "RankDied"  # the kind of an interruption by the death of a rank


@dataclass(frozen=True)
class Ending:
    """How a training has ended: `abrupt` if it was left by an exception, `early` if at a rung.

    `unlogged` means that the event log cannot be written. `weights` is the digest of the final
    weights, if it is known.
    """

    state: State
    metrics: Mapping[str, Any] | None = None
    error: str = ""
    kind: str = ""
    traceback: str = ""
    weights: str | None = None
    abrupt: bool = field(default=False, kw_only=True)
    early: bool = field(default=False, kw_only=True)


def judge_endings(endings: Mapping[int, Ending], dead: Collection[int]) -> Ending:
    """Return how a trial has ended as a whole; `endings` by rank, in the order of their arrival.

    A rank in `dead` has died before its ending: the trial is interrupted. Ranks that end with
    different weights have not trained one model: it has failed. Otherwise the first rank that left
    its training by an exception is the cause, whatever the others ran into afterwards. If rank 0
    has ended at a rung, so has the trial: rank 0 may be the first to know of it.
    """
    if 0 in endings and endings[0].early:
        return endings[0]
    if dead:
        return Ending("interrupted", error=f"{_list_ranks(dead)} died", kind=RANK_DIED)
    weights = {rank: endings[rank].weights for rank in sorted(endings)}
    if None not in weights.values() and len(set(weights.values())) > 1:
        digests = ", ".join(f"rank {rank} {digest}" for rank, digest in weights.items())
        return Ending("failed", error=f"the weights of the ranks differ: {digests}", kind=_DIFFER)
    for rank, ending in endings.items():
        if ending.abrupt and ending.state == "failed" and len(endings) > 1:
            return replace(ending, error=f"rank {rank}: {ending.error}")
        if ending.abrupt:
            return ending
    stopped = [ending for ending in endings.values() if ending.state == "interrupted"]
    return stopped[0] if stopped else endings[0]


def _list_ranks(ranks: Collection[int]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, sorted(ranks)))}"
