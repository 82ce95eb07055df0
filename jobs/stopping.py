"""Why a trial stops before its end: a signal, for another attempt, or a rung, for good."""

from collections.abc import Mapping

from jobs.agreement import Agreement, Halt
from jobs.journal import Journal
from jobs.ladder import Ladder
from jobs.launch import StopFlag
from jobs.trial import Trial
from jobs.world import World


class Stopping:
    """What one rank knows of it; `halt` is what it stops for, once it is to.

    Rank 0 alone hears of rungs.
    """

    def __init__(self, trial: Trial, journal: Journal, flag: StopFlag, world: World) -> None:
        self._flag, self._world = flag, world
        self._agreement, self._ladder = Agreement(world), Ladder(trial, journal)
        self._has_rungs, self._steps = trial.rungs is not None, trial.workload.steps
        self._step = 0
        self.halt: Halt | None = None

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
        self.halt = Halt(why)

    @property
    def _is_spent(self) -> bool:
        return self._steps is not None and self._step >= self._steps

    def _wish(self) -> Halt | None:
        reason = self._flag.reason
        return self._wish_of_rung() if reason is None else Halt(reason)

    def _wish_of_rung(self) -> Halt | None:
        rung = self._ladder.told
        return None if rung is None or self._is_spent else Halt(rung=rung)
