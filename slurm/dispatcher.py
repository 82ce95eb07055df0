"""Sends the packs of a study to the queue, as many as the site's cap of it leaves room for.

Called on the machine of the user and, by `slurm.feed`, on a node. The caller holds the study's
lock. The cap itself is kept in `slurm.limits`.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from jobs.contract.atomic_write import write_atomically
from slurm.helper_record import HelperRecord, clear_helper, note_sent
from slurm.hours_cap import (
    describe_cap,
    note_cap,
    note_helper,
    read_allotment,
    read_cap,
    read_ledger,
    settle,
)
from slurm.limits import count_room
from slurm.queue.job_control import start_waiting
from slurm.queue.job_ends import fails_to_start, find_stopped_by_other
from slurm.queue.pack_states import expect_jobs
from slurm.queue.squeue import Queue, Queued, QueueWatch, read_named
from slurm.request import Request
from slurm.sbatch import QueueFull, SubmitOptions, submit
from slurm.slurm_errors import NoAnswer, SlurmError
from slurm.submission import ArrayJob, SlurmSubmission, array_throttle

_WAITED_FOR = 200  # jobs in one dependency
_PARTS = 5  # a full queue is refilled in so many parts: the controller is everybody's

_log = logging.getLogger(__name__)


@dataclass
class Dispatcher:
    """Sends packs of one study. `job_id` is the job that it runs in, None outside one.

    `by_person`: somebody has just said `submit`. `leaves`: that job ends as soon as they are sent.
    `changed` is True if the queue is not the one that was handed in any more.
    """

    submissions: Sequence[SlurmSubmission]
    queue: Queue
    job_id: int | None = None
    by_person: bool = False
    leaves: bool = False
    sent: list[ArrayJob] = field(default_factory=list)
    changed: bool = False
    full: bool = False  # the site has refused an array though its cap leaves room for it
    refused: bool = False  # and takes not even one job more
    fed: bool = False
    shut_out: bool = False  # there is no place for a job that sends the rest
    capped: bool = False  # the study's cap of hours leaves no room for a job

    @property
    def leaving(self) -> int | None:
        """The job that this process is in and that ends soon, None if it is in no such job."""
        return self.job_id if self.leaves else None

    def feed(self) -> int:
        """Send what there is room for; return how many packs remain for later."""
        self.changed = start_waiting(self.submissions, self.queue)
        try:
            for submission in self.submissions:
                self._recover(submission)
            self._settle()
            for submission in list(self._open()):
                if fails_to_start(submission, self.queue):
                    submission.array_jobs.give_up()
                elif self._may_go_on(submission):
                    self._send_all(submission)
            self._note_cap()
        except QueueFull as full:
            self.refused = True
            _log.info("the queue is full: %s", full)
        left = sum(len(submission.unsent()) for submission in self._open())
        if left:
            self._send_feeder()
        self._send_after()
        return left

    def _may_go_on(self, submission: SlurmSubmission) -> bool:
        """Return True unless somebody else has cancelled jobs: the rest waits for a person."""
        stopped = find_stopped_by_other(submission, self.queue)
        if stopped and self.by_person:
            submission.array_jobs.release(stopped)
        elif stopped:
            submission.array_jobs.hold(True)
        return self.by_person or not stopped

    def _open(self) -> Iterator[SlurmSubmission]:
        """Yield the submissions of which something is to be sent now."""
        for submission in self.submissions:
            if submission.unsent() and not submission.array_jobs.is_held:
                yield submission

    def _settle(self) -> None:
        """Find out what jobs took that left no word, if the study has a cap to keep."""
        if self.submissions and read_cap(self.submissions[0].layout):
            settle(self.submissions, self.queue)

    def _count_fitting(self, submission: SlurmSubmission, wanted: int) -> int:
        """Return how many of the `wanted` jobs of a submission fit the study's cap.

        Beside the job that looks after the study and, if they are not all, the one that sends the
        rest: these are paid for as well.
        """
        cap, each = read_cap(submission.layout), read_allotment(submission).most
        if not cap:
            return wanted
        ledger = read_ledger(self.submissions, self.leaving)
        taken = ledger.taken
        if submission.after is not None and not self._is_queued(submission.after_name):
            taken += read_allotment(submission, submission.after).most
        alone = cap.count_fitting(taken, each, wanted)
        if submission.feeder is None or alone == wanted:
            return alone
        if not self._is_queued(submission.feeder_name):
            taken += read_allotment(submission, submission.feeder).most
        fitting = cap.count_fitting(taken, each, wanted)
        if not fitting and not (ledger.open_jobs and cap.fits(taken)):
            return alone  # there is no room for the small job, or nothing that it could wait for
        return fitting

    def _fits(self, submission: SlurmSubmission, request: Request) -> bool:
        """Return True if a small job fits the study's cap."""
        cap = read_cap(submission.layout)
        more = read_allotment(submission, request).most
        return not cap or cap.fits(read_ledger(self.submissions, self.leaving).taken + more)

    def _note_cap(self) -> None:
        """Write down that the cap keeps jobs from being sent, or that it does not any more.

        If no job is left whose end could make room, what is not sent is given up: the next
        `submit` sends it, once the cap is higher.
        """
        if not self.submissions:
            return
        layout = self.submissions[0].layout
        if not self.capped:
            note_cap(layout, None)
            return
        ledger, waiting = read_ledger(self.submissions), list(self._open())
        if not waiting:
            return
        text = describe_cap(read_cap(layout), ledger, read_allotment(waiting[0]))
        note_cap(layout, text)
        _log.info("%s", text)
        if not ledger.open_jobs:
            for submission in waiting:
                submission.array_jobs.give_up()

    def _recover(self, submission: SlurmSubmission) -> None:
        """Find the ids of array jobs whose sender had no answer; without one, disown them.

        A job of that name that turns up later finds its name gone, and ends.
        """
        for array_job in submission.array_jobs.read():
            if array_job.id is None:
                name = array_job.name
                # The queue may be an old one, or not all of it.
                ids = self.queue.ids(name) or read_named(name, array_job.uid).ids(name)
                if ids:
                    submission.array_jobs.claim(array_job, ids[0])
                else:
                    submission.array_jobs.disown(array_job)

    def _send_all(self, submission: SlurmSubmission) -> None:
        """Send what there is room for; give up a submission that the site refuses.

        The next `submit` sends its trials anew, as the sweep has them by then.
        """
        try:
            while self._send_next(submission):
                if self.full:
                    # Now, while there is a place for it: a limit that shows itself leaves none.
                    self._send_feeder()
        except (QueueFull, NoAnswer):
            raise
        except SlurmError:
            if self.job_id is None:  # within a job, it may be the node that may not submit
                submission.array_jobs.give_up()
            raise

    def _send_next(self, submission: SlurmSubmission) -> bool:
        """Send one array job; return True if there may be room for another one."""
        unsent = submission.unsent()
        count = self._count_next(submission, len(unsent))
        if count < 1:
            return False
        count = count if submission.arrays else 1
        while True:
            array_job = submission.array_jobs.intend(unsent.start, count, not submission.arrays)
            try:
                self._send(submission, array_job)
            except QueueFull as full:
                submission.array_jobs.retract(array_job)
                self.full = True
                count //= 2  # the site has a limit that it does not show
                if count < 1 and not (full.names_limit or self.sent or self._has_jobs()):
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

    def _has_jobs(self) -> bool:
        """Return True if the user has jobs in the queue, which a first submission has not read."""
        return bool(self.queue.jobs or QueueWatch().read(expect_jobs(self.submissions), 0.0).jobs)

    def _count_next(self, submission: SlurmSubmission, unsent: int) -> int:
        """Return how many packs to send in one array: by the queue's room, and by the cap's."""
        room = count_room(submission, self.queue, _read_sent(self.submissions))
        count = min(unsent, room)
        if count < unsent and submission.feeder is not None:
            count = min(count, room - 1)  # it takes a place as well
        if submission.after is not None and submission.submit_cap is not None:
            count = min(count, room - 1 - (count < unsent))
        least = 1 if submission.submit_cap is None else submission.submit_cap // _PARTS
        if count < max(1, min(unsent, least)):
            return 0
        fitting = self._count_fitting(submission, count)
        self.capped |= fitting < count
        return fitting

    def _send(self, submission: SlurmSubmission, array_job: ArrayJob) -> None:
        after = None
        throttle = array_throttle(array_job.count, submission.concurrent)
        if submission.concurrent is not None:
            of_user = [other for other in self.submissions if other.user == submission.user]
            # Arrays know nothing of each other's throttle: one after the other, they share it. Of
            # single jobs each waits for the one that was sent so many before.
            back = submission.concurrent if array_job.is_single else 1
            living = self._find_living_ids(of_user)
            after = _after(living[-back:][:1] if len(living) >= back else [])
        if array_job.is_single:
            options = SubmitOptions(array_job.name, None, after, array_job.first)
        else:
            options = SubmitOptions(array_job.name, f"{array_job.array}{throttle}", after)
        (submission.folder / "output").mkdir(exist_ok=True)  # or SLURM cannot open what jobs print
        job = int(submit(submission.job, options, submission.scripts))
        submission.array_jobs.claim(array_job, job)
        self.sent.append(replace(array_job, id=job))
        self.changed = True

    def _find_living_ids(self, submissions: Sequence[SlurmSubmission]) -> list[int]:
        """Return the array jobs of some submissions that are in the queue, and all just sent."""
        living = {job.array_job for job in self._find_living(submissions)}
        return sorted(living | {job.id for job in self.sent if job.id is not None})

    def _find_living(self, submissions: Sequence[SlurmSubmission]) -> Sequence[Queued]:
        """Return the jobs of some submissions that are in the queue."""
        ours = {(array_job.name, array_job.id) for array_job in _read_sent(submissions)}
        return [job for job in self.queue.jobs if (job.name, job.array_job) in ours]

    def _is_queued(self, name: str) -> bool:
        """Return True if a job of a name is in the queue, other than the one that we are in."""
        return any(job != self.job_id for job in self.queue.ids(name))

    def _send_feeder(self) -> None:
        """Send the job that sends the rest, unless one waits already."""
        submission = next(self._open())
        if submission.feeder is None or self.fed or self._is_queued(submission.feeder_name):
            return
        waited_for = self._choose_waited_for()
        if waited_for is None:
            self.shut_out = True
            _note_refusal(submission, "the queue is full for you with jobs of other studies")
            return
        if not self._fits(submission, submission.feeder):
            _note_refusal(submission, "the study's cap of hours leaves no room for it")
            return
        options = SubmitOptions(submission.feeder_name, dependency=_after([waited_for]))
        try:
            job = submit(submission.feeder, options, submission.feeder_scripts)
            note_helper(submission, int(job), submission.feeder_name, submission.feeder)
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
        # Of very many it waits for the last ones, and for the others when it comes to its turn.
        dependency = _after(self._find_living_ids(self.submissions)[-_WAITED_FOR:])
        if dependency is None and self.job_id is None:
            clear_helper(submission.layout)  # what it had to do, its user has done
        if dependency is None or self._is_queued(submission.after_name):
            return
        if not self._fits(submission, submission.after):
            _log.warning("the cap of hours leaves no room for the job that looks after the study")
            return
        options = SubmitOptions(submission.after_name, dependency=dependency)
        try:
            job = int(submit(submission.after, options, submission.after_scripts))
            log = str(submission.after_log)
            name = submission.after_name
            note_sent(submission.layout, HelperRecord(job, name, os.geteuid(), log))
            note_helper(submission, job, submission.after_name, submission.after)
            self.changed = True
        except SlurmError as error:
            _log.warning("nobody looks after the study but the next `submit`: %s", error)

    def _choose_waited_for(self) -> str | None:
        """Return the task whose end should make room: the middle one of those in the queue."""
        living = self._find_living(self.submissions)
        tasks = [f"{job.array_job}" + f"_{job.task}" * (job.task is not None) for job in living]
        tasks += [job.task_id(pack, job.id or 0) for job in self.sent for pack in job.packs]
        return tasks[len(tasks) // 2] if tasks else None


def _read_sent(submissions: Sequence[SlurmSubmission]) -> list[ArrayJob]:
    """Return the array jobs of some submissions whose ids are known."""
    read = (job for submission in submissions for job in submission.array_jobs.read())
    return [job for job in read if job.id is not None]


def _after(jobs: Sequence[int | str]) -> str | None:
    """Return the dependency of a job that waits for the end of others, None if there are none."""
    return f"afterany:{':'.join(map(str, jobs))}" if jobs else None


def _note_refusal(submission: SlurmSubmission, why: str | None) -> None:
    """Write down why the job that sends the rest was refused; None if it was sent."""
    if why is None:
        submission.feeder_refusal.unlink(missing_ok=True)
    else:
        write_atomically(submission.feeder_refusal, f"{why}\n")
