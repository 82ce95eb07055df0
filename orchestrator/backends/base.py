"""What every backend can do, and the record of a submission that it is handed."""

import importlib
import json
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from jobs.failures import JobEnd
from jobs.layout import Layout
from jobs.trial import Trial
from orchestrator.cluster_keys import BACKENDS
from tracking.outcomes import Outcome

if TYPE_CHECKING:
    from orchestrator.failures import Need
    from orchestrator.study import Study

Built = TypeVar("Built")
JobState = Literal["queued", "running", "ended"]


@dataclass(frozen=True)
class Submission:
    """What was intended, written before anything starts; its packs lie beside it.

    `lanes` ranks run at a time, which is as many trials where each is one process; `lanes_asked`
    were asked for. `request` is what the backend itself needs to know. `scale` says how many times
    the memory and time of the sweep its jobs are given; `by_hand` that a user has said `retry`.
    `unattended`: somebody is to look after the study once the jobs have ended. `commit` is the one
    that the user's folder was at, in git, and `dirty` whether it had been edited since.
    """

    id: str
    backend: str
    packs: int
    lanes: int
    threads: int
    device: Literal["cpu", "cuda"]
    user: str
    host: str
    time_ms: int
    request: Mapping[str, Any] | None = None
    lanes_asked: int | None = None
    scale: Mapping[str, float] | None = None
    by_hand: bool = False
    unattended: bool = False
    commit: str | None = None
    dirty: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class BackendError(Exception):
    """A job that cannot be reached from here; the message says what to do."""


@dataclass(frozen=True)
class Load:
    """The trials that are to be sent, and what is known of them.

    `suspects` are trials whose process died under them; `code` are the folders of the user's code
    by trial id; `lanes` is what the user has asked for, None where that is left to us. `needs` has
    those that want more than the sweep says, `bad_nodes` where nothing is to go, the oldest first;
    `unattended` is as in `Submission`.
    """

    study: "Study"
    trials: Sequence[Trial]
    outcomes: Sequence[Outcome]
    suspects: Container[str]
    code: Mapping[str, Path | None]
    lanes: int | None = None
    needs: "Mapping[str, Need]" = field(default_factory=dict)
    bad_nodes: Sequence[str] = ()
    unattended: bool = False


@dataclass(frozen=True)
class Lot:
    """The packs of one submission, how many ranks run at a time, and the backend's own request.

    `request` takes the folder of the submission; `scale` is as in `Submission`.
    """

    packs: Sequence[Sequence[Trial]]
    lanes: int
    request: Callable[[Path], Mapping[str, Any] | None] = lambda _: None
    scale: Mapping[str, float] | None = None


def at_a_time(lots: Sequence[Lot], concurrent: int | None) -> int:
    """Return how many ranks of some lots run at a time, where `concurrent` trials may."""
    lanes = sum(lot.lanes for lot in lots)
    most = max((pack[0].world_size for lot in lots for pack in lot.packs), default=1)
    return lanes if concurrent is None else min(lanes, concurrent * most)


class Backend(Protocol):
    """Where jobs run. It says whether a job lives, never how its trials went."""

    def check(self, study: "Study") -> None:
        """Raise an error for what no trial of a study could be given here."""

    def ignored(self, study: "Study") -> Sequence[str]:
        """Return the keys of a sweep that are set and change nothing here."""

    def arrange(self, load: Load) -> Sequence[Lot]:
        """Share trials out to packs, and packs to submissions; starts nothing."""

    def submit(self, layout: Layout, submissions: Sequence[Submission]) -> None:
        """Start the packs of recorded submissions, and what earlier ones have left to send."""

    def states(
        self, layout: Layout, submissions: Sequence[Submission]
    ) -> Mapping[str, Mapping[int, JobState]]:
        """Return the state of the job of every pack, by submission."""

    def ends(
        self, layout: Layout, submissions: Sequence[Submission]
    ) -> Mapping[tuple[str, int], JobEnd]:
        """Return how jobs ended that left no word, by submission and pack; after `states`."""

    def cancel(
        self, layout: Layout, submission: Submission, packs: Collection[int] | None = None
    ) -> None:
        """Ask jobs of a submission to stop cleanly, all or some; returns once none is left."""

    def hold(
        self, layout: Layout, submission: Submission, packs: Collection[int], hold: bool
    ) -> int:
        """Keep jobs that have not started from starting, or let them; return how many."""

    def notes(self, layout: Layout, submissions: Sequence[Submission]) -> Sequence[str]:
        """Return what is to be said of living jobs beside their states; asks nobody."""

    def waits(self, layout: Layout) -> bool:
        """Whether recorded submissions have something left to send."""

    def survives_us(self, study: "Study") -> bool:
        """Whether jobs go on where whoever watches them is interrupted."""


@cache
def load_backend(name: str) -> Backend:
    """Return a backend by its registered name: one of a kind, it may remember what it was told."""
    module, _, kind = BACKENDS[name].partition(":")
    backend: Backend = getattr(importlib.import_module(module), kind)()
    return backend


def job_states(
    layout: Layout, submissions: Sequence[Submission]
) -> Mapping[str, Mapping[int, JobState]]:
    """Return the state of every job by submission and pack; a backend is asked once for all."""
    found: dict[str, Mapping[int, JobState]] = {}
    for name in dict.fromkeys(submission.backend for submission in submissions):
        theirs = [submission for submission in submissions if submission.backend == name]
        found |= load_backend(name).states(layout, theirs)
    return found


def job_ends(
    layout: Layout, submissions: Sequence[Submission]
) -> Mapping[tuple[str, int], JobEnd]:
    """Return how jobs ended that left no word, by submission and pack; after `job_states`."""
    found: dict[tuple[str, int], JobEnd] = {}
    for name in dict.fromkeys(submission.backend for submission in submissions):
        theirs = [submission for submission in submissions if submission.backend == name]
        found |= load_backend(name).ends(layout, theirs)
    return found


def job_notes(layout: Layout, submissions: Sequence[Submission]) -> list[str]:
    """Return what backends say of living jobs beside their states."""
    said: list[str] = []
    for name in dict.fromkeys(submission.backend for submission in submissions):
        theirs = [submission for submission in submissions if submission.backend == name]
        said += load_backend(name).notes(layout, theirs)
    return said


def read_submissions(layout: Layout) -> list[Submission]:
    """Return the submissions of a study, oldest first; a half-written one has started nothing."""
    records = sorted(layout.submissions.glob("*/submission.json"))
    return [read_record(record, lambda fields: Submission(**fields)) for record in records]


def cancelled_mark(layout: Layout, submission: str) -> Path:
    """Return the file by which a user's `cancel` is remembered: nothing follows by itself then."""
    return layout.submission(submission) / "cancelled"


def read_record(path: Path, build: Callable[[dict[str, Any]], Built]) -> Built:
    """Return what `build` makes of the JSON in a file; raises BackendError where it cannot."""
    try:
        return build(json.loads(path.read_text()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BackendError(
            f"{path} is damaged ({error}): move its folder away, then submit again; the event "
            "logs keep all results"
        ) from error
