"""When the ranks of a trial stop and save: at one step, the same for all.

Each asks at every step; they speak with each other a few times a second only.
"""

import time
from dataclasses import dataclass

from jobs.world import World

_EVERY_S = 0.25  # from the wish of one rank to the step at which all know of it
_MOST = 64  # questions without an answer, however fast they come


@dataclass(frozen=True)
class Halt:
    """Why a training stops: by a signal, for `reason`, or for good at a `rung`."""

    reason: str = ""
    rung: int | None = None


class Agreement:
    """What the ranks want of each other; a world of one agrees with itself at once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._patience = self._left = 1
        self._since = time.monotonic()

    def ask(self, stop: Halt | None, save: bool) -> tuple[Halt | None, bool]:
        """Return why to stop, where any rank has a reason to, and whether rank 0 wants to save.

        To be called by all ranks equally often. Where it is not time to speak with each other the
        answer is no.
        """
        self._left -= 1
        if self._left:
            return None, False
        patience = self._next_patience()
        wishes = self._world.exchange("should_stop or should_save", (stop, save, patience))
        self._patience = self._left = wishes[0][2]
        self._since = time.monotonic()
        return next((reason for reason, _, _ in wishes if reason), None), wishes[0][1]

    def _next_patience(self) -> int:
        """Return after how many questions to speak again; never much more than seen by now."""
        if self._world.size == 1:
            return 1
        pace_s = (time.monotonic() - self._since) / self._patience
        return max(1, min(int(_EVERY_S / max(pace_s, 1e-9)), 2 * self._patience, _MOST))
