"""Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934) in the variant that stops.

At a rung a tuning trial is ranked among the settings of its candidate, and may end; a trial that
has ended is not resumed. Reads no log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rungs:
    """`at` rise: epochs of image classification, steps of the user's own training.

    Of those that have reached a rung, the best 1/`reduction` go on. `competitors` names the trials
    that are ranked together; it is a label, as a name is.
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
        """Return True if a value is among the best at a rung; `others` were there before.

        The best one goes on however few have been there: no trial waits for others.
        """
        sign = -1.0 if lower_is_better else 1.0
        ranked = sorted((sign * each for each in (*others, value)), reverse=True)
        return sign * value >= ranked[max(1, len(ranked) // self.reduction) - 1]
