"""One submission to SLURM: what it asks for, and the array jobs by which its packs are sent.

Its record has the requests and the limits, so that a job on a node can send the rest as well. For
an array job an intent is written before sbatch is called and an id after, by whoever knows it
first: the sender, or the job itself. So an answer that was lost is found again, and of two jobs
of one intent only the first one works. Submits nothing.
"""

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract.atomic_write import write_atomically, write_once
from jobs.contract.layout import Layout
from slurm.request import Request
from slurm.slurm_errors import SlurmError
from slurm.waiting import poll, read_late

ALLOCATION = "-job"  # after the id of a submission whose packs run within one job
USUAL_CONCURRENT = 100  # jobs of one array that run at a time, if the sweep says no number
_NOBODY = 0  # is the id of no job
# Files in the folder of the array jobs: what is not sent yet never is to be, or has to wait.
_CANCELLED, _GIVEN_UP, _HELD = "cancelled", "given-up", "held"
_RELEASED = "released"  # and what somebody else has stopped goes on


@dataclass(frozen=True)
class ArrayJob:
    """Packs `first` to `first + count - 1`, sent as the array tasks of these numbers.

    `name` is unique to it, `uid` the user who has sent it; `id` is None while none is known. On a
    site without job arrays it is one pack, sent as a job of its own (`is_single`).
    """

    number: int
    first: int
    count: int
    name: str
    uid: int
    id: int | None = None
    is_single: bool = False

    @property
    def packs(self) -> range:
        return range(self.first, self.first + self.count)

    @property
    def array(self) -> str:
        """The array indices as sbatch takes them."""
        return f"{self.first}-{self.first + self.count - 1}"

    def key(self, pack: int, job: int) -> tuple[str, int, int | None]:
        """Return by what the queue knows the job of a pack, if that of the array is `job`."""
        return self.name, job, None if self.is_single else pack

    def task_id(self, pack: int, job: int) -> str:
        """Return the job of a pack as SLURM's commands name it, if that of the array is `job`."""
        return f"{job}" if self.is_single else f"{job}_{pack}"


@dataclass(frozen=True)
class ArrayJobs:
    """The array jobs of a submission, as its folder has them on disk."""

    layout: Layout
    submission: str

    @property
    def folder(self) -> Path:
        return self.layout.submission(self.submission) / "chunks"

    @property
    def is_cancelled(self) -> bool:
        """True if the user has cancelled the submission."""
        return (self.folder / _CANCELLED).exists()

    @property
    def is_over(self) -> bool:
        """True if the packs that are not sent yet never are to be."""
        return self.is_cancelled or (self.folder / _GIVEN_UP).exists()

    @property
    def is_held(self) -> bool:
        """True if the packs that are not sent yet have to wait for `release`."""
        return (self.folder / _HELD).exists()

    def cancel(self, cancel: bool = True) -> None:
        """Have nothing more sent; jobs take the signal that stops them for their user's wish.

        Without `cancel`, take that back.
        """
        if cancel:
            self._mark(_CANCELLED)
        else:
            (self.folder / _CANCELLED).unlink(missing_ok=True)

    def give_up(self) -> None:
        """Have nothing more sent; what was sent goes on."""
        self._mark(_GIVEN_UP)

    def hold(self, hold: bool) -> None:
        """Keep the packs that are not sent yet from being sent, or let them be sent."""
        if hold:
            self._mark(_HELD)
        else:
            (self.folder / _HELD).unlink(missing_ok=True)

    @property
    def released(self) -> set[int]:
        """The packs of which a person knows that somebody else has cancelled their jobs."""
        path = self.folder / _RELEASED
        return set(_parse(path, path.read_text())["packs"]) if path.exists() else set()

    def release(self, packs: Collection[int]) -> None:
        """Write down that a person knows that somebody else has cancelled jobs."""
        record = {"packs": sorted(self.released | set(packs))}
        write_atomically(self.folder / _RELEASED, json.dumps(record))

    def read(self) -> Sequence[ArrayJob]:
        """Return all array jobs, in order."""
        array_jobs = []
        for path in sorted(self.folder.glob("*.json"), key=lambda path: int(path.stem)):
            with contextlib.suppress(FileNotFoundError):  # retracted in this moment
                array_jobs.append(self._read(path))
        return array_jobs

    def intend(self, first: int, count: int, is_single: bool = False) -> ArrayJob:
        """Write down the packs that are about to be sent, before they are."""
        self.folder.mkdir(exist_ok=True)
        # The number of a disowned one is never given again: its job may read it still.
        taken = [path for path in self.folder.iterdir() if path.suffix in (".json", ".job")]
        number = 1 + max((int(path.stem) for path in taken), default=-1)
        token = uuid.uuid4().hex[:8]
        name = f"{self.layout.study}-{self.submission}.{number}-{token}"
        record = {"first": first, "count": count, "name": name, "single": is_single}
        write_atomically(self._path(number), json.dumps(record))
        return ArrayJob(number, first, count, name, os.geteuid(), is_single=is_single)

    def retract(self, array_job: ArrayJob) -> None:
        """Take an intent back: the scheduler has refused it."""
        self._path(array_job.number).unlink(missing_ok=True)

    def disown(self, array_job: ArrayJob) -> None:
        """Take an intent back of which no job is known, unless one has claimed it by now.

        Should there be such a job, it finds its name gone, and ends.
        """
        if self.claim(array_job, _NOBODY):
            self.retract(array_job)

    def claim(self, array_job: ArrayJob, job: int) -> bool:
        """Write down the id of an array job; return True if it is the one that counts."""
        record = {"job": job, "time_s": time.time()}
        path = self._path(array_job.number).with_suffix(".job")
        return write_once(path, json.dumps(record)) or self._read_id(path) == job

    def carries(self, pack: int, name: str | None, job: int) -> bool:
        """Return True if the job of a name and an id is the one that was meant to carry a pack.

        An intent may have been sent twice. It was written before the job was sent: if there is
        none, it may only be seen late. A job that was renamed is known by the id that its sender
        was told, which is written down soon after.
        """
        array_job = poll(lambda: self.by_pack().get(pack))
        if array_job is not None and name is not None and array_job.name in name:
            return self.claim(array_job, job)
        told = poll(lambda: (one := self.by_pack().get(pack)) is None or one.id is not None)
        array_job = self.by_pack().get(pack)
        return told and array_job is not None and array_job.id == job

    def by_pack(self) -> dict[int, ArrayJob]:
        """Return the array job of every pack that has one."""
        return {pack: array_job for array_job in self.read() for pack in array_job.packs}

    def _mark(self, name: str) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / name).touch()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.json"

    def _read(self, path: Path) -> ArrayJob:
        record = _parse(path, path.read_text())
        answer = path.with_suffix(".job")
        job = self._read_id(answer) if answer.exists() else None
        first, count, name = record["first"], record["count"], record["name"]
        is_single, uid = record.get("single", False), path.stat().st_uid
        return ArrayJob(int(path.stem), first, count, name, uid, job, is_single)

    def _read_id(self, path: Path) -> int:
        # The file is there, though it may be seen late: it was listed, or `write_once` refused.
        return int(_parse(path, read_late(path))["job"])


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


def array_throttle(count: int, concurrent: int | None) -> str:
    """Return the end of `--array` that lets so many of `count` jobs run at a time.

    If the sweep does not say how many (None), a large array leaves room for other people's jobs.
    """
    most = USUAL_CONCURRENT if concurrent is None else concurrent
    return f"%{most}" if most < count else ""


@dataclass(frozen=True)
class SlurmSubmission:
    """One submission to SLURM.

    `concurrent` is the most jobs that may run at a time, None if nobody has said it; `submit_cap`
    the most that a user may have in the queue, None if there is no limit; `feeder` is None if jobs
    may not submit others, `after` the job that waits for the end of all others, None if nobody has
    to look after the study. A job has `lanes`; the queue is asked for every `status_every_s` at
    most. `allotted` are the CPUs and GPUs of a job, None if its request alone tells them. Without
    `arrays`, every pack is sent as a job of its own.
    """

    layout: Layout
    id: str
    packs: int
    user: str
    job: Request
    feeder: Request | None
    after: Request | None
    concurrent: int | None
    submit_cap: int | None
    lanes: int
    status_every_s: float
    allotted: tuple[int, int] | None = None
    arrays: bool = True

    @property
    def array_jobs(self) -> ArrayJobs:
        return ArrayJobs(self.layout, self.id)

    @property
    def folder(self) -> Path:
        return self.layout.submission(self.id)

    @property
    def scripts(self) -> Path:
        """The folder of the batch scripts that were sent."""
        return self.folder / "scripts"

    @property
    def feeder_scripts(self) -> Path:
        """The folder of the batch scripts of the jobs that send the rest."""
        return self.scripts / "feed"

    @property
    def after_scripts(self) -> Path:
        """The folder of the batch scripts of the jobs that look after the study."""
        return self.scripts / "after"

    @property
    def feeder_name(self) -> str:
        """The name of the job that sends the rest."""
        return f"{self.layout.study}-{self.id}-{self._token}-feed"

    @property
    def after_name(self) -> str:
        """The name of the job that looks after the study in the end; it has one at a time."""
        return f"{self.layout.study}-{self._token}-after"

    @property
    def _token(self) -> str:
        """A digest of the first record and so of its place: other studies may have its name."""
        first = min(self.layout.submissions.glob("*/submission.json"))
        return hashlib.sha256(first.read_bytes()).hexdigest()[:8]

    @property
    def feeder_log(self) -> Path:
        """The output of the jobs that send the rest, one after another."""
        return self.folder / "feed.log"

    @property
    def after_log(self) -> Path:
        """The output of the job that looks after the study."""
        return self.folder / "after.log"

    @property
    def feeder_refusal(self) -> Path:
        """The file that says why that job could not be sent."""
        return self.folder / "feed.refused"

    @property
    def waits(self) -> bool:
        """True if packs are to be sent, or the id of an array job that was sent is unknown."""
        return bool(self.unsent()) or any(
            array_job.id is None for array_job in self.array_jobs.read()
        )

    def has_begun(self, pack: int) -> bool:
        """Return True if the job of a pack has logged anything."""
        return any(self.layout.events.glob(f"{self.id}-{pack}-*.jsonl"))

    def has_any_begun(self) -> bool:
        """Return True if any job has logged anything."""
        return any(self.layout.events.glob(f"{self.id}-*.jsonl"))

    def unsent(self) -> range:
        """Return the packs that no array job carries yet and that are still to be sent."""
        if self.array_jobs.is_over:
            return range(0)
        sent = self.array_jobs.read()
        return range(sent[-1].packs.stop if sent else 0, self.packs)

    @staticmethod
    def of(layout: Layout, record: Mapping[str, Any]) -> "SlurmSubmission":
        """Return the submission that a record describes."""
        request = record["request"]
        feeder, after = request["feeder"], request.get("after")
        limits = ("concurrent", "submit_cap", "lanes", "status_every_s")
        allotted = request.get("allotted")
        return SlurmSubmission(
            layout=layout,
            id=record["id"],
            packs=record["packs"],
            user=record["user"],
            job=Request.from_json(request["job"]),
            feeder=None if feeder is None else Request.from_json(feeder),
            after=None if after is None else Request.from_json(after),
            arrays=request.get("arrays", True),
            **{name: request[name] for name in limits},
            allotted=None if allotted is None else (allotted["cpus"], allotted["gpus"]),
        )


def read_slurm_submissions(layout: Layout) -> list[SlurmSubmission]:
    """Return the submissions of a study to SLURM, oldest first."""
    submissions = []
    for path in sorted(layout.submissions.glob("*/submission.json")):
        record = json.loads(path.read_text())
        if record.get("backend") == "slurm":
            submissions.append(SlurmSubmission.of(layout, record))
        elif (record.get("request") or {}).get("allocation"):
            submissions.append(SlurmSubmission.of(layout, allocation_record(record)))
    return submissions


def allocation_record(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the record of the job of a submission that runs its packs within one job.

    That job is the only "pack" of the record, and has a folder of its own beside the submission's.
    """
    changed = {"id": f"{record['id']}{ALLOCATION}", "packs": 1, "lanes": 1}
    return {**record, **changed, "request": record["request"]["allocation"]}
