"""Sends the packs of a study to the queue, as many as its limits allow.

Called where trials are sent, and on a node by `slurm.feed`. Whoever calls it holds the study's
lock.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from jobs.contract.atomic_write import write_atomically
from slurm.job_control import find_delayed, find_held, release_held, start_delayed
from slurm.sbatch import QueueFull, SubmitOptions, submit
from slurm.slurm_errors import NoAnswer, SlurmError
from slurm.squeue import Queue, Queued, read_named
from slurm.submission import ArrayJob, SlurmSubmission

_PARTS = 5  # a full queue is refilled in so many parts: the controller is everybody's

_log = logging.getLogger(__name__)


@dataclass
class Dispatcher:
    """One dispatcher of a study. `own_job` is the id of the job that feeds, where it is one.

    `changed`: the queue is another one than it was.
    """

    submissions: Sequence[SlurmSubmission]
    queue: Queue
    job_id: int | None = None
    sent: list[tuple[SlurmSubmission, ArrayJob, int]] = field(default_factory=list)
    changed: bool = False
    full: bool = False  # the site has refused an array that it said it would take
    refused: bool = False  # and takes not even one job more
    fed: bool = False
    shut_out: bool = False  # a job is wanted that sends the rest, and there is no place for it

    def feed(self) -> int:
        """Send what there is room for; return how many packs remain for later."""
        late, held = (
            find_delayed(self.submissions, self.queue),
            find_held(self.submissions, self.queue),
        )
        start_delayed(late)
        release_held(held)
        self.changed = bool(late or held)
        try:
            for submission in self.submissions:
                self._recover(submission)
            for submission in list(self._open()):
                self._send_all(submission)
        except QueueFull as full:
            self.refused = True
            _log.info("the queue is full: %s", full)
        left = sum(len(submission.unsent()) for submission in self._open())
        if left:
            self._send_feeder()
        self._send_after()
        return left

    def _open(self) -> Iterator[SlurmSubmission]:
        """Yield the orders of which something is to be sent now."""
        for submission in self.submissions:
            if submission.unsent() and not submission.array_jobs.is_held:
                yield submission

    def _recover(self, submission: SlurmSubmission) -> None:
        """Find the job of a chunk whose sender got no answer; without one it is not sent yet.

        Should it turn up later all the same, it finds its name gone, and ends.
        """
        for array_job in submission.array_jobs.read():
            if array_job.job is None:
                # The queue may be an old one, or not all of it.
                found = self.queue.ids(array_job.name) or read_named(array_job.name).ids(
                    array_job.name
                )
                if found:
                    submission.array_jobs.claim(array_job, found[0])
                else:
                    submission.array_jobs.disown(array_job)

    def _send_all(self, submission: SlurmSubmission) -> None:
        """Send what there is room for; an order that the site refuses is given up.

        Its trials are missing then, and go with the next `submit`, as it is to be by then.
        """
        try:
            while self._next(submission):
                if self.full:
                    # Now, while there is a place for it: a limit that shows itself leaves none.
                    self._send_feeder()
        except (QueueFull, NoAnswer):
            raise
        except SlurmError:
            if self.job_id is None:  # on a node it may be the node that may not submit
                submission.array_jobs.give_up()
            raise

    def _next(self, submission: SlurmSubmission) -> bool:
        """Send one chunk of an order; return whether there may be room for another one."""
        unsent = submission.unsent()
        count = min(len(unsent), self._room(submission))
        if count < len(unsent) and submission.feeder is not None:
            count = min(count, self._room(submission) - 1)  # it takes a place as well
        if submission.after is not None and submission.submit_cap is not None:
            count = min(count, self._room(submission) - 1 - (count < len(unsent)))
        if count < max(1, min(len(unsent), self._least(submission))):
            return False
        while True:
            array_job = submission.array_jobs.intend(unsent.start, count)
            try:
                self._send(submission, array_job)
            except QueueFull as full:
                submission.array_jobs.retract(array_job)
                self.full = True
                count //= 2  # of a limit that nobody has told us of
                if count < 1 and not (full.names_limit or self.queue.jobs or self.sent):
                    raise SlurmError(f"sbatch refuses even one job: {full}") from full
                if count < 1:
                    raise
                continue
            except NoAnswer:
                raise  # the intent stays: should there be a job, it is found by its name
            except Exception:
                submission.array_jobs.retract(array_job)
                raise
            return bool(submission.unsent())

    def _least(self, submission: SlurmSubmission) -> int:
        """Return the fewest packs that are worth a call of sbatch while more are to be sent."""
        return 1 if submission.submit_cap is None else submission.submit_cap // _PARTS

    def _room(self, submission: SlurmSubmission) -> int:
        """Return how many more jobs the user may have in the queue."""
        if submission.submit_cap is None:
            return submission.packs
        ours = sum(job.uid == os.geteuid() for job in self.queue.jobs)
        return max(0, submission.submit_cap - ours - self._newer())

    def _newer(self) -> int:
        """Return how many jobs were sent since the queue was looked at."""
        seen = {job.array_job for job in self.queue.jobs}
        return sum(
            array_job.count
            for submission in self.submissions
            for array_job in submission.array_jobs.read()
            if array_job.job is not None
            and array_job.job.id not in seen
            and array_job.job.id not in self.queue.known
        )

    def _send(self, submission: SlurmSubmission, array_job: ArrayJob) -> None:
        throttle, after = "", None
        if submission.concurrent is not None:
            if submission.concurrent < array_job.count:
                throttle = f"%{submission.concurrent}"
            living = self._living_array_jobs(submission)
            # Arrays know nothing of each other's throttle: one after the other, they share it.
            after = f"afterany:{':'.join(map(str, living))}" if living else None
        sending = SubmitOptions(array_job.name, f"{array_job.array}{throttle}", after)
        (submission.folder / "output").mkdir(exist_ok=True)  # or SLURM cannot open what jobs print
        job = int(submit(submission.job, sending, submission.scripts))
        submission.array_jobs.claim(array_job, job)
        self.sent.append((submission, array_job, job))
        self.changed = True

    def _living_array_jobs(self, submission: SlurmSubmission) -> list[int]:
        submissions = [other for other in self.submissions if other.user == submission.user]
        living = {job.array_job for job in self._living(submissions)}
        return sorted(living | {job for _, _, job in self.sent})[-1:]

    def _living(self, submissions: Sequence[SlurmSubmission]) -> Sequence[Queued]:
        """Return the jobs of the chunks of some orders that are in the queue."""
        array_jobs = [
            array_job for submission in submissions for array_job in submission.array_jobs.read()
        ]
        ours = {
            (array_job.name, array_job.job.id)
            for array_job in array_jobs
            if array_job.job is not None
        }
        return [job for job in self.queue.jobs if (job.name, job.array_job) in ours]

    def _send_feeder(self) -> None:
        """Send the job that goes on feeding, unless one waits already."""
        submission = next(iter(self._open()))
        if submission.feeder is None or self.fed:
            return
        name = submission.feeder_name
        if [job for job in self.queue.ids(name) if job != self.job_id]:
            return
        waited_for = self._waited_for()
        if waited_for is None:
            self.shut_out = True
            _note_refusal(submission, "the queue is full for you with jobs of other studies")
            return
        try:
            submit(
                submission.feeder,
                SubmitOptions(name, dependency=f"afterany:{waited_for}"),
                submission.scripts,
            )
        except SlurmError as error:
            self.shut_out = isinstance(error, QueueFull | NoAnswer)
            _note_refusal(submission, str(error))
            _log.warning("the next `thermolion submit` sends the rest, no job can: %s", error)
        else:
            self.fed = self.changed = True
            _note_refusal(submission, None)

    def _send_after(self) -> None:
        """Send the job that looks after the study once all others have ended, unless one waits."""
        submission = self.submissions[-1] if self.submissions else None
        if submission is None or submission.after is None or submission.array_jobs.is_cancelled:
            return
        if [job for job in self.queue.ids(submission.after_name) if job != self.job_id]:
            return
        living = {job.array_job for job in self._living(self.submissions)}
        ids = sorted(living | {job for _, _, job in self.sent})
        if not ids:
            return
        sending = SubmitOptions(
            submission.after_name, dependency=f"afterany:{':'.join(map(str, ids))}"
        )
        try:
            submit(submission.after, sending, submission.scripts)
            self.changed = True
        except SlurmError as error:
            _log.warning("nobody looks after the study but the next `submit`: %s", error)

    def _waited_for(self) -> str | None:
        """Return the task whose end should make room: the middle one of those in the queue."""
        tasks = [f"{job.array_job}_{job.task}" for job in self._living(self.submissions)]
        tasks += [f"{job}_{pack}" for _, array_job, job in self.sent for pack in array_job.packs]
        return tasks[len(tasks) // 2] if tasks else None


def _note_refusal(submission: SlurmSubmission, why: str | None) -> None:
    """Write down why no job could be sent that sends the rest; None if it was sent."""
    if why is None:
        submission.feeder_refusal.unlink(missing_ok=True)
    else:
        write_atomically(submission.feeder_refusal, f"{why}\n")
