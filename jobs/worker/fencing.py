"""Of two attempts at one trial the newer one goes on: what an attempt looks at to know its place.

Reads logs and checkpoint; writes nothing.
"""

import secrets
import time
from pathlib import Path

from jobs.contract.attempts import Attempt
from jobs.worker import checkpoint
from jobs.worker.checkpoint import Checkpoint
from jobs.worker.journal import Journal
from thermolion.errors import OperationError

_LOOK_EVERY_S = 5.0  # for a newer attempt: a look is a listing of the events folder


class FencedOut(OperationError):  # noqa: N818 - a state, not a mistake
    """A newer attempt at this trial lives: this one ends and writes nothing more."""


class Succession:
    """The place of one attempt among those at a trial, whose checkpoint lies at `path`."""

    def __init__(self, trial: str, path: Path, journal: Journal) -> None:
        self._trial, self._path, self._journal = trial, path, journal
        self._attempt: Attempt | None = None
        self._seen: tuple[int, int] | None = None
        self._looked_at = time.monotonic()

    def begin(self) -> tuple[Attempt, Checkpoint | None]:
        """Return what this attempt counts as from now on, and what it goes on from."""
        self.saw_checkpoint()
        kept = checkpoint.read(self._path, self._trial)
        generation = self._journal.refresh().next_generation(self._trial)
        if kept is not None:
            generation = max(generation, kept.generation + 1)
        self._attempt = Attempt(generation, secrets.token_hex(8))
        return self._attempt, kept

    def saw_checkpoint(self) -> None:
        """Take the checkpoint that is there now for one of ours or of an earlier attempt."""
        self._seen = checkpoint.mark(self._path)

    def look_at_checkpoint(self) -> None:
        """Raise Superseded where a newer attempt has written the checkpoint since our last look.

        Its log may not be visible yet where the folder is shared by hosts.
        """
        if checkpoint.mark(self._path) == self._seen:
            return
        there = checkpoint.read(self._path, self._trial)
        if there is not None and self._attempt is not None and there.attempt > self._attempt:
            raise FencedOut(f"a newer attempt at trial {self._trial} has taken over")

    def look(self, now: bool = False) -> None:
        """Raise Superseded where a newer attempt lives or the trial has its result by now."""
        if not now and time.monotonic() - self._looked_at <= _LOOK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        attempts = self._journal.refresh()
        newest = attempts.newest(self._trial)
        newer = self._attempt is not None and newest is not None and newest > self._attempt
        if newer or attempts.is_done(self._trial):
            raise FencedOut(f"a newer attempt at trial {self._trial} has taken over")
