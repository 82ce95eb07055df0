"""Rungs: where a tuning trial is measured against the others of its candidate, and may end.

Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934), in the variant that stops: who
has ended is not taken up again. Standard library only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rungs:
    """`at` rise: epochs of image classification, steps of the user's own training.

    Of those that have reached a rung, one in `reduction` goes on, the best ones. `competitors` names
    names those that a trial is measured against, whatever they are called; a label, as a name is.
    """

    at: tuple[int, ...]
    reduction: int
    competitors: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what takes part in identity."""
        return {"at": list(self.at), "reduction": self.reduction}

    @staticmethod
    def from_json(record: Mapping[str, Any], competitors: str) -> "Rungs":
        return Rungs(tuple(record["at"]), record["reduction"], competitors)

    def keeps(self, value: float, others: Sequence[float], lower_is_better: bool) -> bool:
        """Say whether a value is among the best of all at a rung; `others` were there before.

        The best one goes on however few have been there: nobody waits.
        """
        sign = -1.0 if lower_is_better else 1.0
        ranked = sorted((sign * one for one in (*others, value)), reverse=True)
        return sign * value >= ranked[max(1, len(ranked) // self.reduction) - 1]
