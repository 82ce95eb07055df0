"""Fencing: of two attempts at one trial, the older one ends and writes nothing more.

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

_CHECK_EVERY_S = 5.0  # for a newer attempt: a check is a listing of the events folder


class FencedOut(OperationError):  # noqa: N818 - a state, not a mistake
    """A newer attempt at this trial lives: this one ends and writes nothing more."""


class Fence:
    """One attempt among those at a trial, whose checkpoint lies at `path`."""

    def __init__(self, trial: str, path: Path, journal: Journal) -> None:
        self._trial, self._path, self._journal = trial, path, journal
        self._attempt: Attempt | None = None
        self._known_file: tuple[int, int] | None = None
        self._checked_at = time.monotonic()

    def begin(self) -> tuple[Attempt, Checkpoint | None]:
        """Return the number of this attempt, and the checkpoint that it goes on from."""
        self.accept_checkpoint()
        kept = checkpoint.read(self._path, self._trial)
        generation = self._journal.refresh().next_generation(self._trial)
        if kept is not None:
            generation = max(generation, kept.generation + 1)
        self._attempt = Attempt(generation, secrets.token_hex(8))
        return self._attempt, kept

    def accept_checkpoint(self) -> None:
        """Take the checkpoint that is there now as one of this attempt or of an earlier one."""
        self._known_file = checkpoint.identify(self._path)

    def check_checkpoint(self) -> None:
        """Raise FencedOut if a newer attempt has written the checkpoint since it was accepted.

        Its log may not be visible yet if several hosts share the folder.
        """
        if checkpoint.identify(self._path) != self._known_file:
            latest = checkpoint.read(self._path, self._trial)
            self._check(None if latest is None else latest.attempt)

    def check(self, now: bool = False) -> None:
        """Raise FencedOut if a newer attempt has begun or the trial has its result.

        Looks every few seconds, unless `now`.
        """
        if now or time.monotonic() - self._checked_at > _CHECK_EVERY_S:
            self._checked_at = time.monotonic()
            attempts = self._journal.refresh()
            self._check(attempts.newest(self._trial), attempts.is_done(self._trial))

    def _check(self, other: Attempt | None, is_done: bool = False) -> None:
        if is_done or (self._attempt is not None and other is not None and other > self._attempt):
            raise FencedOut(f"a newer attempt at trial {self._trial} has taken over")
