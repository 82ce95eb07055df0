"""The journal of a lane: the event log that it writes, and the logs of all lanes of its study.

Standard library only.
"""

from pathlib import Path
from typing import Any

from jobs.contract.attempts import Attempts
from jobs.contract.events import EventLog


class Journal:
    """Writes the event log of this lane, reads those of the study."""

    def __init__(self, log: EventLog, attempts: Attempts) -> None:
        self._log, self._attempts = log, attempts

    def append(self, event_type: str, trial: str | None = None, **payload: Any) -> None:
        """Append one event; raises LogError if it fails twice."""
        self._log.append(event_type, trial, **payload)

    def sync(self) -> None:
        """Write to disk what is not there yet; raises LogError if it fails twice."""
        self._log.sync()

    def refresh(self) -> Attempts:
        """Return the attempts in all logs of the study; raises LogError for a damaged one."""
        return self._attempts.refresh()

    def close(self) -> None:
        self._log.close()


class NullJournal(Journal):
    """The journal of all ranks but rank 0: writes nothing, and knows of no attempt."""

    def __init__(self) -> None:
        self._attempts = Attempts(Path(), {})

    def append(self, event_type: str, trial: str | None = None, **payload: Any) -> None:
        pass

    def sync(self) -> None:
        pass

    def refresh(self) -> Attempts:
        return self._attempts

    def close(self) -> None:
        pass
