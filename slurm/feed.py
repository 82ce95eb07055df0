"""The small job that sends the rest of a study from a node: `python -m slurm.feed ROOT STUDY`.

Says as well if one is needed and what became of it. `slurm.dispatcher` decides what is sent.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.contract.layout import Layout
from jobs.contract.lock import Lock
from jobs.contract.quantities import are, quantity
from slurm.dispatcher import Dispatcher
from slurm.environment import read_job_id
from slurm.hours_cap import LEAVES_S, read_cap, read_cap_note, record_helper
from slurm.queue.pack_states import expect_jobs
from slurm.queue.squeue import Queue, QueueWatch
from slurm.submission import SlurmSubmission, read_slurm_submissions
from slurm.waiting import retry_until

_LOCK_WAIT_S = 60.0

_log = logging.getLogger(__name__)


def needs_feeder(submission: SlurmSubmission) -> bool:
    """Return True if a job has to be in the queue that sends the rest of a submission."""
    is_held = submission.array_jobs.is_held
    return submission.feeder is not None and not is_held and bool(submission.unsent())


def describe_unsent(
    layout: Layout, submissions: Sequence[SlurmSubmission], queue: Queue
) -> str | None:
    """Say how many jobs are not sent yet, and how they will be; None if all are."""
    waiting = [submission for submission in submissions if submission.waits]
    if not waiting:
        return None
    unsent = sum(len(submission.unsent()) for submission in waiting)
    jobs = f"{quantity(unsent, 'job')} {are(unsent)}"
    if all(submission.array_jobs.is_held for submission in waiting):
        return f"{jobs} held back: thermolion release {layout.study}"
    how = _describe_rest(waiting, queue)
    if (held := read_cap_note(layout)) is not None:
        how = f"{held} ({how})"
    return f"{jobs} not in the queue yet: {how}"


def _describe_rest(submissions: Sequence[SlurmSubmission], queue: Queue) -> str:
    """Say how what is not sent yet of some submissions gets into the queue."""
    fed = [submission for submission in submissions if needs_feeder(submission)]
    if not fed:
        return "they go with the next `thermolion submit`, or while `thermolion run` watches"
    if any(queue.ids(s.feeder_name) or _was_sent_since(s, queue) for s in submissions):
        return "they go by themselves, as room is made for them"
    why = next((line for submission in fed if (line := _read_last_line(submission))), None)
    ended = "the job that sends them on is gone" + ("" if why is None else f" ({why})")
    return f"{ended}: `thermolion submit` sends them, or `thermolion run` while it watches"


def _was_sent_since(submission: SlurmSubmission, queue: Queue) -> bool:
    """Return True if jobs were sent after the queue was read, and a feeder maybe with them."""
    ids = [array_job.id for array_job in submission.array_jobs.read()]
    return any(job is not None and job not in queue.known for job in ids)


def _read_last_line(submission: SlurmSubmission) -> str | None:
    """Return why the job was refused, or else the last line that it has printed itself."""
    for path in (submission.feeder_refusal, submission.feeder_log):
        text = path.read_text(errors="replace").strip() if path.exists() else ""
        if text:
            return text.splitlines()[-1].strip()
    return None


def main() -> None:
    """Send what there is room for of the study that the command line names, from within a job."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    layout = Layout(Path(sys.argv[1]), sys.argv[2])
    if read_cap(layout):
        signal.alarm(LEAVES_S)  # it is paid for, too
    with record_helper(layout):
        retry_until(lambda: not _feed(layout).shut_out)


def _feed(layout: Layout) -> Dispatcher:
    with Lock(layout.lock, wait_s=_LOCK_WAIT_S):
        submissions = read_slurm_submissions(layout)
        queue = QueueWatch().read(expect_jobs(submissions), 0)
        dispatcher = Dispatcher(submissions, queue, read_job_id(os.environ), leaves=True)
        left = dispatcher.feed()
    sent = sum(array_job.count for array_job in dispatcher.sent)
    _log.info("%d packs sent, %d left", sent, left)
    return dispatcher


if __name__ == "__main__":
    main()
