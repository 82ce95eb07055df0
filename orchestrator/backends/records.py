"""The files of a submission: what was intended, and the packs that its jobs carry.

Written before anything starts, read back by whoever runs or follows the jobs.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from jobs.contract.atomic_write import write_atomically
from jobs.contract.layout import Layout
from jobs.contract.pack import Pack
from thermolion.errors import OperationError

Built = TypeVar("Built")

_SUBMISSION = "submission.json"


class BackendError(OperationError):
    """A job that cannot be reached from here; the message says what to do."""


@dataclass(frozen=True)
class Submission:
    """What was intended, written before anything starts; its packs lie beside it.

    `lanes` ranks run at a time, which is as many trials if each is one process; `lanes_asked`
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

    @property
    def in_a_job(self) -> bool:
        """Whether its packs run in a Ray within one job of SLURM's."""
        return bool((self.request or {}).get("allocation"))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_submissions(layout: Layout) -> list[Submission]:
    """Return the submissions of a study, oldest first; a half-written one has started nothing."""
    records = sorted(layout.submissions.glob(f"*/{_SUBMISSION}"))
    return [read_submission(record.parent) for record in records]


def submission_file(folder: Path) -> Path:
    """Return the file of a submission in its folder."""
    return folder / _SUBMISSION


def read_submission(folder: Path) -> Submission:
    """Return the submission whose files lie in a folder."""
    return read_record(submission_file(folder), lambda fields: Submission(**fields))


def cancelled_mark(layout: Layout, submission: str) -> Path:
    """Return the file by which a user's `cancel` is remembered: nothing follows by itself then."""
    return layout.submission(submission) / "cancelled"


def write_submission(folder: Path, submission: Submission) -> None:
    """Write down what is intended; its packs have to lie there already."""
    write_atomically(submission_file(folder), json.dumps(submission.to_json(), indent=1))


def write_packs(packs: Sequence[Pack]) -> None:
    """Write one file a pack."""
    for pack in packs:
        path = pack.layout.pack(pack.submission, pack.number)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, json.dumps(pack.to_json()))


def read_pack(layout: Layout, submission: str, number: int) -> Pack:
    """Read back what a job carries."""
    return read_record(layout.pack(submission, number), Pack.from_json)


def read_record(path: Path, build: Callable[[dict[str, Any]], Built]) -> Built:
    """Return what `build` makes of the JSON in a file; raises BackendError if it cannot."""
    try:
        return build(json.loads(path.read_text()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BackendError(
            f"{path} is damaged ({error}): move its folder away, then submit again; the event "
            "logs keep all results"
        ) from error
