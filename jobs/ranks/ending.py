"""How an attempt at a trial has ended, on one rank and, judged from all of them, as a whole.

Standard library only; logs nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from thermolion.errors import OperationError

State = Literal["completed", "diverged", "failed", "interrupted", "superseded", "unlogged"]

_DIFFER = "ReplicasDiffer"
RANK_DIED = "RankDied"  # the kind of an interruption that a rank has not lived to tell


class Diverged(OperationError):  # noqa: N818 - a result, not a mistake
    """The training has broken down; `metrics` are final ones, where it still has any.

    `alike` where every rank comes to it at the same place: none is left waiting for another.
    """

    def __init__(
        self, why: str, metrics: Mapping[str, float] | None = None, *, alike: bool = False
    ) -> None:
        super().__init__(why)
        self.metrics = metrics or {}
        self.alike = alike


@dataclass(frozen=True)
class Ending:
    """What has become of a training; `abrupt` where it left by an exception, `early` at a rung.

    `unlogged` is one whose event log cannot be written. `weights` is the digest of the final ones,
    where it is known.
    """

    state: State
    metrics: Mapping[str, Any] | None = None
    error: str = ""
    kind: str = ""
    traceback: str = ""
    weights: str | None = None
    abrupt: bool = field(default=False, kw_only=True)
    early: bool = field(default=False, kw_only=True)


def judged(endings: Mapping[int, Ending], gone: Collection[int]) -> Ending:
    """Return what a trial has come to: `endings` by rank, the first that was heard of first.

    A rank in `gone` has died without a word: the trial goes on another time. Ranks that have come
    to the end with other weights have not trained one model. Else the first that left its training
    by an exception is the cause, whatever the others have met with by then. Where rank 0 has ended
    at a rung, so has the trial, as it may be the first to hear of it.
    """
    if 0 in endings and endings[0].early:
        return endings[0]
    if gone:
        return Ending("interrupted", error=f"{_ranks(gone)} died", kind=RANK_DIED)
    weights = {rank: endings[rank].weights for rank in sorted(endings)}
    if None not in weights.values() and len(set(weights.values())) > 1:
        told = ", ".join(f"rank {rank} {digest}" for rank, digest in weights.items())
        return Ending("failed", error=f"the weights of the ranks differ: {told}", kind=_DIFFER)
    for rank, ending in endings.items():
        if ending.abrupt:
            return _named(ending, rank) if len(endings) > 1 else ending
    stopped = [ending for ending in endings.values() if ending.state == "interrupted"]
    return stopped[0] if stopped else endings[0]


def _named(ending: Ending, rank: int) -> Ending:
    """Say which rank an error is of; that of a result is the same for all."""
    if ending.state != "failed":
        return ending
    error = f"rank {rank}: {ending.error}"
    return Ending("failed", None, error, ending.kind, ending.traceback, abrupt=True)


def _ranks(ranks: Collection[int]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, sorted(ranks)))}"
