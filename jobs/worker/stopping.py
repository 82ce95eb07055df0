"""When a training stops before its end: by a signal, to be resumed, or at a rung, for good.

All ranks of a trial stop, and save, at the same step. A trial judges itself at its rungs, by what
the logs say that others had there: no scheduler is asked, so that it is the same on every backend.
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
_MOST_QUESTIONS = 64  # without an exchange, however fast they come
_NO_RUNGS = Rungs((), 1)


@dataclass(frozen=True)
class StopReason:
    """Why a training stops: for the reason `why`, to be resumed, or for good at a `rung`."""

    why: str = ""
    rung: int | None = None


class Stopping:
    """What one rank knows of the end of its training; `reason` is why it stops, once it has to.

    Rank 0 alone judges at rungs.
    """

    def __init__(self, trial: Trial, journal: Journal, flag: StopFlag, group: RankGroup) -> None:
        self._flag, self._group = flag, group
        self.judge, self._agreement = AshaJudge(trial, journal), Agreement(group)
        self._has_rungs, self._steps = trial.rungs is not None, trial.workload.steps
        self._step = 0
        self.reason: StopReason | None = None

    @property
    def is_interrupted(self) -> bool:
        """True if the training stops here, and another attempt goes on."""
        return self.reason is not None and self.reason.rung is None

    @property
    def is_early(self) -> bool:
        """True if the training ends because it was told to, not because it is done."""
        return self.is_interrupted or self.rung is not None

    @property
    def rung(self) -> int | None:
        """The rung at which the trial ends; None if it goes on, or has spent its budget."""
        return None if self.reason is None or self._is_spent else self.reason.rung

    def add_point(self, step: int, position: float, metrics: Mapping[str, float]) -> None:
        """Take a point of the curve, whose `position` is in the unit of the rungs."""
        self._step = step
        self.judge.add_point(position, metrics)

    def ask_all(self, save: bool) -> tuple[bool, bool]:
        """Return two answers: do all ranks stop now, and do they save? All ranks have to ask."""
        if self.reason is None:
            self.reason, save = self._agreement.ask(self._own_reason(), save)
            if self.reason is not None and self.reason.rung is None:
                self._flag.set(self.reason.why)
        return self.reason is not None, save

    def ask_at_rung(self) -> bool:
        """Return True if all ranks end at a rung now; all ranks have to ask at the same step."""
        if self._has_rungs:
            self.reason = self.reason or self._group.broadcast(self._reason_at_rung())
        return self.rung is not None

    def ask_alone(self) -> bool:
        """Return True if this rank has to stop, without asking the others."""
        self.reason = self.reason or self._own_reason()
        return self.reason is not None

    def stop_all(self, why: str) -> None:
        """Stop for a reason that every rank has at the same step."""
        self._flag.set(why)
        self.reason = StopReason(why)

    @property
    def _is_spent(self) -> bool:
        return self._steps is not None and self._step >= self._steps

    def _own_reason(self) -> StopReason | None:
        why = self._flag.reason
        return self._reason_at_rung() if why is None else StopReason(why)

    def _reason_at_rung(self) -> StopReason | None:
        rung = self.judge.last_rung
        return None if rung is None or self._is_spent else StopReason(rung=rung)


class AshaJudge:
    """One trial and its rungs, of which it may have none; `last_rung` is the one it ends at.

    A decision at a rung holds for later attempts at the trial, whatever other trials have logged
    since. With a null journal no trial ends: the best of none is always kept.
    """

    def __init__(self, trial: Trial, journal: Journal) -> None:
        self._rungs = trial.rungs or _NO_RUNGS
        self._trial, self._journal = trial.id, journal
        self._rungs_ahead = list(self._rungs.at)
        self._metric = trial.workload.metric_spec
        self.last_rung: int | None = None

    def add_point(self, position: float, metrics: Mapping[str, float]) -> None:
        """Decide at every rung that the point at `position`, in the unit of the rungs, passes."""
        value = metrics.get(self._metric.metric, math.nan)
        while self._rungs_ahead and self._rungs_ahead[0] <= position and math.isfinite(value):
            rung = self._rungs_ahead.pop(0)
            if not self._is_kept(rung, value):
                self.last_rung = rung
                self._rungs_ahead.clear()

    def restore(self) -> None:
        """Read from the logs at which rung an earlier attempt was ended, if at any."""
        for rung in self._rungs.at if self.last_rung is None else ():
            _, is_kept = self._at_rung(rung).get(self._trial, (0.0, True))
            if not is_kept:
                self.last_rung = rung

    def _is_kept(self, rung: int, value: float) -> bool:
        """Return True if the trial goes on behind a rung; logs it, if it is decided now."""
        measured = self._at_rung(rung)
        if self._trial in measured:
            return measured[self._trial][1]
        others = [other for other, _ in measured.values()]
        is_kept = self._rungs.keeps(value, others, self._metric.goal == "min")
        measurement = {"rung": rung, "value": value, "goes_on": is_kept}
        rivals = self._rungs.competitors
        self._journal.append(events.MEASURED, self._trial, rivals=rivals, **measurement)
        return is_kept

    def _at_rung(self, rung: int) -> Mapping[str, tuple[float, bool]]:
        return self._journal.refresh().at_rung(self._rungs.competitors, rung)


class Agreement:
    """The step at which all ranks stop or save; they exchange wishes a few times a second.

    A group of one rank agrees at once.
    """

    def __init__(self, group: RankGroup) -> None:
        self._group = group
        self._interval = self._left = 1
        self._since = time.monotonic()

    def ask(self, stop: StopReason | None, save: bool) -> tuple[StopReason | None, bool]:
        """Return why to stop, if any rank has a reason to, and True if rank 0 wants to save.

        All ranks have to ask equally often. Between two exchanges the answer is no.
        """
        self._left -= 1
        if self._left:
            return None, False
        interval = self._next_interval()
        wishes = self._group.exchange("should_stop or should_save", (stop, save, interval))
        self._interval = self._left = wishes[0][2]
        self._since = time.monotonic()
        return next((reason for reason, _, _ in wishes if reason), None), wishes[0][1]

    def _next_interval(self) -> int:
        """Return the number of questions to the next exchange, at most twice the last one."""
        if self._group.size == 1:
            return 1
        pace_s = (time.monotonic() - self._since) / self._interval
        return max(1, min(int(_EVERY_S / max(pace_s, 1e-9)), 2 * self._interval, _MOST_QUESTIONS))
