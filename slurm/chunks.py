"""The chunks of a submission: array jobs that were meant to be sent, and the ids they got.

An intent is written before sbatch is called and an id after, by whoever knows it first: who has
submitted it, or the job itself. So an answer that was lost is found again, and of two jobs of one
chunk only the first one works. Submits nothing.
"""

import contextlib
import json
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.layout import Layout
from jobs.whole_file import write_once, write_whole
from slurm.late_files import await_late, read_late
from slurm.slurm_errors import SlurmError

_NOBODY = 0  # is the id of no job


@dataclass(frozen=True)
class Job:
    """The array job of a chunk, and when its id was written (seconds since the epoch)."""

    id: int
    time_s: float


@dataclass(frozen=True)
class Chunk:
    """Packs `first` to `first + count - 1`, sent as the array tasks of these numbers.

    `name` is the name of the job, unique to the chunk; `uid` the user who has sent it; `job` is
    None while no id is known.
    """

    number: int
    first: int
    count: int
    name: str
    uid: int
    job: Job | None = None

    @property
    def packs(self) -> range:
        return range(self.first, self.first + self.count)

    @property
    def array(self) -> str:
        """The array indices as sbatch takes them."""
        return f"{self.first}-{self.first + self.count - 1}"


@dataclass(frozen=True)
class Chunks:
    """Where the chunks of a submission are written down."""

    layout: Layout
    submission: str

    @property
    def folder(self) -> Path:
        return self.layout.submission(self.submission) / "chunks"

    @property
    def _cancelled(self) -> Path:
        return self.folder / "cancelled"

    @property
    def _held(self) -> Path:
        return self.folder / "held"

    @property
    def _given_up(self) -> Path:
        return self.folder / "given-up"

    @property
    def is_cancelled(self) -> bool:
        """Whether its user has stopped all of it."""
        return self._cancelled.exists()

    @property
    def is_over(self) -> bool:
        """Whether what is not sent yet never is to be."""
        return self.is_cancelled or self._given_up.exists()

    @property
    def is_held(self) -> bool:
        """Whether what is not sent yet has to wait for `release`."""
        return self._held.exists()

    def cancel(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self._cancelled.touch()

    def give_up(self) -> None:
        """Send nothing more; what was sent goes on."""
        self.folder.mkdir(exist_ok=True)
        self._given_up.touch()

    def hold(self, hold: bool) -> None:
        self.folder.mkdir(exist_ok=True)
        if hold:
            self._held.touch()
        else:
            self._held.unlink(missing_ok=True)

    def read(self) -> Sequence[Chunk]:
        """Return all chunks, in order."""
        found = []
        for path in sorted(self.folder.glob("*.json"), key=lambda path: int(path.stem)):
            with contextlib.suppress(FileNotFoundError):  # retracted in this moment
                found.append(self._read(path))
        return found

    def intend(self, first: int, count: int) -> Chunk:
        """Write down what is about to be sent, before it is."""
        self.folder.mkdir(exist_ok=True)
        # That of a chunk that was disowned is never given again: its job may read it still.
        taken = [path for path in self.folder.iterdir() if path.suffix in (".json", ".job")]
        number = 1 + max((int(path.stem) for path in taken), default=-1)
        token = uuid.uuid4().hex[:8]
        name = f"{self.layout.study}-{self.submission}.{number}-{token}"
        record = {"first": first, "count": count, "name": name}
        write_whole(self._path(number), json.dumps(record))
        return Chunk(number, first, count, name, os.geteuid())

    def retract(self, chunk: Chunk) -> None:
        """Take an intent back: the scheduler has refused it."""
        self._path(chunk.number).unlink(missing_ok=True)

    def disown(self, chunk: Chunk) -> None:
        """Take an intent back of which no job is known; should there be one, it has no claim.

        Unless it has claimed the chunk by now: then that stays.
        """
        if self.claim(chunk, _NOBODY):
            self.retract(chunk)

    def claim(self, chunk: Chunk, job: int) -> bool:
        """Write down the id of a chunk's job; return whether it is the one that counts."""
        record = {"job": job, "time_s": time.time()}
        path = self._path(chunk.number).with_suffix(".job")
        return write_once(path, json.dumps(record)) or self._job(path).id == job

    def carries(self, pack: int, name: str | None, job: int) -> bool:
        """Whether the job of a name and an id is the one that was meant to carry a pack.

        An intent may have been sent twice. It was written before the job was sent: where there is
        none, it may only be seen late.
        """
        chunk = await_late(lambda: self.of_pack(pack))
        return chunk is not None and chunk.name == name and self.claim(chunk, job)

    def of_pack(self, pack: int) -> Chunk | None:
        """Return the chunk that carries a pack, None where it was never to be sent."""
        return next((chunk for chunk in self.read() if pack in chunk.packs), None)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.json"

    def _read(self, path: Path) -> Chunk:
        record = _parse(path, path.read_text())
        answer = path.with_suffix(".job")
        job = self._job(answer) if answer.exists() else None
        first, count, name = record["first"], record["count"], record["name"]
        return Chunk(int(path.stem), first, count, name, path.stat().st_uid, job)

    def _job(self, path: Path) -> Job:
        record = _parse(path, read_late(path))  # it is there: a link to it was refused, or found
        return Job(record["job"], record["time_s"])


def cancel_mark(submission: Path, pack: int) -> Path:
    """Return the file that is there while a pack is being cancelled, in a submission's folder."""
    return submission / "output" / f"{pack}.cancelled"


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise SlurmError(
            f"{path} is damaged ({error}): move it away, then submit again"
        ) from error
    return record
