"""The way of a trial past its rungs: it judges itself by what others had when they were there.

No scheduler decides: a trial reads in the logs who has been at a rung, and says in its own what it
had and whether it goes on. So it is the same on every backend, and nobody has to live on for it.
"""

import math
from collections.abc import Mapping

from jobs import events
from jobs.journal import Journal
from jobs.rungs import Rungs
from jobs.trial import Trial

_NO_RUNGS = Rungs((), 1)


class Ladder:
    """One trial and its rungs, of which it may have none; `told` is the one at which it ends.

    What an attempt was told at a rung holds for those that follow, whoever has come since. With a
    null journal nobody is told to end: who has heard of no other is the best.
    """

    def __init__(self, trial: Trial, journal: Journal) -> None:
        self._rungs = trial.rungs or _NO_RUNGS
        self._trial, self._journal = trial.id, journal
        self._left = list(self._rungs.at)
        self._reading = trial.workload.read_as
        self.told: int | None = None

    def reach(self, position: float, metrics: Mapping[str, float]) -> None:
        """Take a point of the curve, whose `position` is in the unit of the rungs."""
        value = metrics.get(self._reading.metric, math.nan)
        while self._left and self._left[0] <= position and math.isfinite(value):
            rung = self._left.pop(0)
            if not self._goes_on(rung, value):
                self.told = rung
                self._left.clear()

    def hear(self) -> None:
        """Learn at which rung an earlier attempt was told to end."""
        for rung in self._rungs.at if self.told is None else ():
            if self._there(rung).get(self._trial, (0.0, True))[1] is False:
                self.told = rung

    def _goes_on(self, rung: int, value: float) -> bool:
        there = self._there(rung)
        if self._trial in there:
            return there[self._trial][1]
        others = [had for had, _ in there.values()]
        goes_on = self._rungs.keeps(value, others, self._reading.goal == "min")
        said = {"rivals": self._rungs.rivals, "rung": rung, "value": value, "goes_on": goes_on}
        self._journal.append(events.MEASURED, self._trial, **said)
        return goes_on

    def _there(self, rung: int) -> Mapping[str, tuple[float, bool]]:
        return self._journal.look().at_rung(self._rungs.rivals, rung)
