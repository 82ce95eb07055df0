"""The files of a submission: what was intended, and the packs that its jobs carry.

They are written before anything starts; those that run or follow the jobs read them back.
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

_Record = TypeVar("_Record")

_SUBMISSION = "submission.json"


class BackendError(OperationError):
    """A job that cannot be reached from here; the message says what to do."""


@dataclass(frozen=True)
class Submission:
    """What was intended, written before anything starts; its packs lie beside it.

    `lanes` ranks run at a time, which is the number of trials if each is one process; the user has
    asked for `lanes_asked`. `request` is what the backend itself needs to know. `scale` has the
    factors of the sweep's memory and time that its jobs are given. `by_hand`: a user's `retry` has
    sent it. `unattended`: the study is to be advanced once the jobs have ended. `commit` is that
    of the user's folder in git, and `dirty` whether it had been edited since.
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
        """True if its packs run on a Ray inside one SLURM job."""
        return bool((self.request or {}).get("allocation"))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_submissions(layout: Layout) -> list[Submission]:
    """Return the submissions of a study, oldest first; without a record none has started."""
    records = sorted(layout.submissions.glob(f"*/{_SUBMISSION}"))
    return [read_submission(record.parent) for record in records]


def submission_file(folder: Path) -> Path:
    """Return the file of a submission in its folder."""
    return folder / _SUBMISSION


def read_submission(folder: Path) -> Submission:
    """Return the submission whose files lie in a folder."""
    return read_record(submission_file(folder), lambda fields: Submission(**fields))


def next_number(layout: Layout) -> int:
    """Return the number of the next submission; one is never used twice."""
    return 1 + max(
        (int(p.name) for p in layout.submissions.glob("*") if p.name.isdigit()), default=0
    )


def cancelled_file(layout: Layout, submission: str) -> Path:
    """Return the file that records a user's `cancel`: nothing is sent by itself after it."""
    return layout.submission(submission) / "cancelled"


def write_submission(folder: Path, submission: Submission) -> None:
    """Write the record of a submission; its packs have to be there already."""
    write_atomically(submission_file(folder), json.dumps(submission.to_json(), indent=1))


def write_packs(packs: Sequence[Pack]) -> None:
    """Write one file for each pack."""
    for pack in packs:
        path = pack.layout.pack(pack.submission, pack.number)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, json.dumps(pack.to_json()))


def read_pack(layout: Layout, submission: str, number: int) -> Pack:
    """Return the pack that a job carries."""
    return read_record(layout.pack(submission, number), Pack.from_json)


def find_former_root(layout: Layout, submissions: Sequence[Submission]) -> Path | None:
    """Return the root that the last submission was sent from, if the study was moved since.

    A root that is reached by another path is no other one.
    """
    if not submissions:
        return None
    try:
        before = read_pack(layout, submissions[-1].id, 0).layout.root
    except FileNotFoundError:
        return None  # somebody has removed it: nobody knows
    try:
        return None if before.samefile(layout.root) else before
    except FileNotFoundError:
        return before


def read_record(path: Path, build: Callable[[dict[str, Any]], _Record]) -> _Record:
    """Return what `build` makes of the JSON in a file; raises BackendError if it cannot."""
    try:
        return build(json.loads(path.read_text()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BackendError(
            f"{path} is damaged ({error}): move its folder away, then submit again; the event "
            "logs keep all results"
        ) from error
