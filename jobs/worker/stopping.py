"""Why a trial stops before its end: a signal, for another attempt, or a rung, for good.

When the ranks of a trial stop and save: at one step, the same for all.

Each asks at every step; they speak with each other a few times a second only.

The way of a trial past its rungs: it judges itself by what others had when they were there.

No scheduler decides: a trial reads in the logs who has been at a rung, and says in its own what it
had and whether it goes on. So it is the same on every backend, and nobody has to live on for it.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from jobs.contract import events
from jobs.contract.asha import Rungs
from jobs.contract.trial import Trial
from jobs.ranks.group import RankGroup
from jobs.ranks.launch import StopFlag
from jobs.worker.journal import Journal

_EVERY_S = 0.25  # from the wish of one rank to the step at which all know of it
_MOST = 64  # questions without an answer, however fast they come


@dataclass(frozen=True)
class StopReason:
    """Why a training stops: by a signal, for `reason`, or for good at a `rung`."""

    reason: str = ""
    rung: int | None = None


class Agreement:
    """What the ranks want of each other; a world of one agrees with itself at once."""

    def __init__(self, world: RankGroup) -> None:
        self._world = world
        self._patience = self._left = 1
        self._since = time.monotonic()

    def ask(self, stop: StopReason | None, save: bool) -> tuple[StopReason | None, bool]:
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


_NO_RUNGS = Rungs((), 1)


class AshaJudge:
    """One trial and its rungs, of which it may have none; `told` is the one at which it ends.

    What an attempt was told at a rung holds for those that follow, whoever has come since. With a
    null journal nobody is told to end: who has heard of no other is the best.
    """

    def __init__(self, trial: Trial, journal: Journal) -> None:
        self._rungs = trial.rungs or _NO_RUNGS
        self._trial, self._journal = trial.id, journal
        self._left = list(self._rungs.at)
        self._reading = trial.workload.metric_spec
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
        said = {
            "rivals": self._rungs.competitors,
            "rung": rung,
            "value": value,
            "goes_on": goes_on,
        }
        self._journal.append(events.MEASURED, self._trial, **said)
        return goes_on

    def _there(self, rung: int) -> Mapping[str, tuple[float, bool]]:
        return self._journal.refresh().at_rung(self._rungs.competitors, rung)


class Stopping:
    """What one rank knows of it; `halt` is what it stops for, once it is to.

    Rank 0 alone hears of rungs.
    """

    def __init__(self, trial: Trial, journal: Journal, flag: StopFlag, world: RankGroup) -> None:
        self._flag, self._world = flag, world
        self._agreement, self._ladder = Agreement(world), AshaJudge(trial, journal)
        self._has_rungs, self._steps = trial.rungs is not None, trial.workload.steps
        self._step = 0
        self.halt: StopReason | None = None

    @property
    def is_interrupted(self) -> bool:
        """Whether another attempt goes on from here."""
        return self.halt is not None and self.halt.rung is None

    @property
    def is_heeded(self) -> bool:
        """Whether the training ends because it was told to, not because it is done."""
        return self.is_interrupted or self.rung is not None

    @property
    def rung(self) -> int | None:
        """The rung at which the trial ends; None where it goes on, or has spent its budget."""
        return None if self.halt is None or self._is_spent else self.halt.rung

    def reach(self, step: int, position: float, metrics: Mapping[str, float]) -> None:
        """Take a point of the curve."""
        self._step = step
        self._ladder.reach(position, metrics)

    def hear(self) -> None:
        """Learn at which rung an earlier attempt was told to end."""
        self._ladder.hear()

    def ask_all(self, save: bool) -> tuple[bool, bool]:
        """Return whether all ranks stop now, and whether they save; to be asked by all alike."""
        if self.halt is None:
            self.halt, save = self._agreement.ask(self._wish(), save)
            if self.halt is not None and self.halt.rung is None:
                self._flag.set(self.halt.reason)
        return self.halt is not None, save

    def ask_at_rung(self) -> bool:
        """Return whether all ranks end at a rung now; to be asked by all at one step."""
        if self._has_rungs:
            self.halt = self.halt or self._world.tell(self._wish_of_rung())
        return self.rung is not None

    def ask_self(self) -> bool:
        """Return whether this rank is to stop, without a word to the others."""
        self.halt = self.halt or self._wish()
        return self.halt is not None

    def stop_alike(self, why: str) -> None:
        """Stop for a reason that every rank has at this very step."""
        self._flag.set(why)
        self.halt = StopReason(why)

    @property
    def _is_spent(self) -> bool:
        return self._steps is not None and self._step >= self._steps

    def _wish(self) -> StopReason | None:
        reason = self._flag.reason
        return self._wish_of_rung() if reason is None else StopReason(reason)

    def _wish_of_rung(self) -> StopReason | None:
        rung = self._ladder.told
        return None if rung is None or self._is_spent else StopReason(rung=rung)
