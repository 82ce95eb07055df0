"""What a lane writes of its trials, and what all lanes of a study have said of theirs.

Standard library only.
"""

from pathlib import Path
from typing import Any

from jobs.contract.attempts import Attempts
from jobs.contract.events import EventLog


class Journal:
    """The lane's own event log to write, the study's logs to read."""

    def __init__(self, log: EventLog, attempts: Attempts) -> None:
        self._log, self._attempts = log, attempts

    def append(self, event_type: str, trial: str | None = None, **payload: Any) -> None:
        """Append one event; raises LogError if it fails twice."""
        self._log.append(event_type, trial, **payload)

    def sync(self) -> None:
        """Put on disk what is not there yet; raises LogError if it fails twice."""
        self._log.sync()

    def refresh(self) -> Attempts:
        """Return what all logs of the study say by now; raises LogError for a damaged one."""
        return self._attempts.refresh()

    def close(self) -> None:
        self._log.close()


class NullJournal(Journal):
    """The journal of all ranks but the first: writes nothing, and has heard of no attempt."""

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
