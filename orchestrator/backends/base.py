"""What every backend can do, and the record of a submission that it is handed."""

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from jobs.layout import Layout

Built = TypeVar("Built")
JobState = Literal["queued", "running", "ended"]

BACKENDS: Mapping[str, str] = {"local": "orchestrator.backends.local:LocalBackend"}


@dataclass(frozen=True)
class Submission:
    """What was intended, written before anything starts; its packs lie beside it."""

    id: str
    backend: str
    packs: int
    lanes: int
    threads: int
    device: Literal["cpu", "cuda"]
    user: str
    host: str
    time_ms: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class BackendError(Exception):
    """A job that cannot be reached from here; the message says what to do."""


class Backend(Protocol):
    """Where jobs run. It says whether a job lives, never how its trials went."""

    def submit(self, layout: Layout, submission: Submission) -> None:
        """Start the packs of a recorded submission."""

    def states(self, layout: Layout, submission: Submission) -> Mapping[int, JobState]:
        """Return the state of the job of every pack."""

    def cancel(self, layout: Layout, submission: Submission) -> None:
        """Ask the jobs of a submission to stop cleanly; returns once none is left."""


def load_backend(name: str) -> Backend:
    """Construct a backend by its registered name."""
    module, _, kind = BACKENDS[name].partition(":")
    backend: Backend = getattr(importlib.import_module(module), kind)()
    return backend


def read_submissions(layout: Layout) -> list[Submission]:
    """Return the submissions of a study, oldest first; a half-written one has started nothing."""
    records = sorted(layout.submissions.glob("*/submission.json"))
    return [read_record(record, lambda fields: Submission(**fields)) for record in records]


def read_record(path: Path, build: Callable[[dict[str, Any]], Built]) -> Built:
    """Return what `build` makes of the JSON in a file; raises BackendError where it cannot."""
    try:
        return build(json.loads(path.read_text()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BackendError(
            f"{path} is damaged ({error}): move its folder away, then submit again; the event "
            "logs keep all results"
        ) from error
