"""Feeds a study to the queue: as many packs as its limits allow, the rest by a later feeding.

Called where trials are sent, and on a node by a small job (`python -m slurm.dispatcher ROOT
STUDY`) that starts when room should be. Whoever feeds holds the study's lock.

The small job that sends the rest of an order: whether it is there, and what became of it.

Sends nothing, which is `slurm.dispatcher`'s.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobs.contract.atomic_write import write_whole
from jobs.contract.layout import Layout
from jobs.contract.lock import Lock
from slurm.environment import own_job
from slurm.pack_states import expected
from slurm.requeued import delayed, free, release, stuck
from slurm.sbatch import QueueFull, Sending, submit
from slurm.slurm_errors import NoAnswer, SlurmError
from slurm.squeue import Queue, Queued, read_named, read_queue
from slurm.submission import ArrayJob, SlurmSubmission, read_orders
from slurm.waiting import retry_until

_REFUSED = "feed.refused"  # beside its log: why there is none


def is_fed(order: SlurmSubmission) -> bool:
    """Whether a job has to be in the queue that sends the rest of an order."""
    return order.feeder is not None and not order.chunks.is_held and bool(order.unsent())


def note_refusal(order: SlurmSubmission, why: str | None) -> None:
    """Keep in mind why no such job could be sent; None where it was."""
    path = order.folder / _REFUSED
    if why is None:
        path.unlink(missing_ok=True)
    else:
        write_whole(path, f"{why}\n")


def sending_on(orders: Sequence[SlurmSubmission], queue: Queue) -> str:
    """Say how the rest of some orders gets into the queue."""
    fed = [order for order in orders if is_fed(order)]
    if not fed:
        return "they go with the next `thermolion submit`, or while `thermolion run` watches"
    if any(queue.ids(order.feeder_name) for order in orders):
        return "they go by themselves, as room is made for them"
    if any(_sent_since(order, queue) for order in orders):
        return "they go by themselves, as room is made for them"
    why = next((said for order in fed if (said := _why(order)) is not None), None)
    ended = "the job that sends them on is gone" + ("" if why is None else f" ({why})")
    return f"{ended}: `thermolion submit` sends them, or `thermolion run` while it watches"


def _sent_since(order: SlurmSubmission, queue: Queue) -> bool:
    """Whether something was sent after the queue was looked at, and a feeder maybe with it."""
    jobs = [chunk.job for chunk in order.chunks.read()]
    return any(job is not None and job.id not in queue.known for job in jobs)


def _why(order: SlurmSubmission) -> str | None:
    """Return the last word on the matter: a refusal, or what the job itself has printed."""
    refused = order.folder / _REFUSED
    for path in (refused, order.feeder_log):
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        said = [line.strip() for line in lines if line.strip()]
        if said:
            return said[-1]
    return None


_LOCK_WAIT_S = 60.0
_PARTS = 5  # a full queue is refilled in so many parts: the controller is everybody's

_log = logging.getLogger(__name__)


@dataclass
class Dispatcher:
    """One feeding of a study. `own_job` is the id of the job that feeds, where it is one.

    `changed`: the queue is another one than it was.
    """

    orders: Sequence[SlurmSubmission]
    queue: Queue
    own_job: int | None = None
    sent: list[tuple[SlurmSubmission, ArrayJob, int]] = field(default_factory=list)
    changed: bool = False
    full: bool = False  # the site has refused an array that it said it would take
    refused: bool = False  # and takes not even one job more
    fed: bool = False
    shut_out: bool = False  # a job is wanted that sends the rest, and there is no place for it

    def feed(self) -> int:
        """Send what there is room for; return how many packs remain for later."""
        late, held = delayed(self.orders, self.queue), stuck(self.orders, self.queue)
        release(late)
        free(held)
        self.changed = bool(late or held)
        try:
            for order in self.orders:
                self._recover(order)
            for order in list(self._open()):
                self._send_all(order)
        except QueueFull as full:
            self.refused = True
            _log.info("the queue is full: %s", full)
        left = sum(len(order.unsent()) for order in self._open())
        if left:
            self._send_feeder()
        self._send_after()
        return left

    def _open(self) -> Iterator[SlurmSubmission]:
        """Yield the orders of which something is to be sent now."""
        for order in self.orders:
            if order.unsent() and not order.chunks.is_held:
                yield order

    def _recover(self, order: SlurmSubmission) -> None:
        """Find the job of a chunk whose sender got no answer; without one it is not sent yet.

        Should it turn up later all the same, it finds its name gone, and ends.
        """
        for chunk in order.chunks.read():
            if chunk.job is None:
                # The queue may be an old one, or not all of it.
                found = self.queue.ids(chunk.name) or read_named(chunk.name).ids(chunk.name)
                if found:
                    order.chunks.claim(chunk, found[0])
                else:
                    order.chunks.disown(chunk)

    def _send_all(self, order: SlurmSubmission) -> None:
        """Send what there is room for; an order that the site refuses is given up.

        Its trials are missing then, and go with the next `submit`, as it is to be by then.
        """
        try:
            while self._next(order):
                if self.full:
                    # Now, while there is a place for it: a limit that shows itself leaves none.
                    self._send_feeder()
        except (QueueFull, NoAnswer):
            raise
        except SlurmError:
            if self.own_job is None:  # on a node it may be the node that may not submit
                order.chunks.give_up()
            raise

    def _next(self, order: SlurmSubmission) -> bool:
        """Send one chunk of an order; return whether there may be room for another one."""
        unsent = order.unsent()
        count = min(len(unsent), self._room(order))
        if count < len(unsent) and order.feeder is not None:
            count = min(count, self._room(order) - 1)  # it takes a place as well
        if order.after is not None and order.submit_cap is not None:
            count = min(count, self._room(order) - 1 - (count < len(unsent)))
        if count < max(1, min(len(unsent), self._least(order))):
            return False
        while True:
            chunk = order.chunks.intend(unsent.start, count)
            try:
                self._send(order, chunk)
            except QueueFull as full:
                order.chunks.retract(chunk)
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
                order.chunks.retract(chunk)
                raise
            return bool(order.unsent())

    def _least(self, order: SlurmSubmission) -> int:
        """Return the fewest packs that are worth a call of sbatch while more are to be sent."""
        return 1 if order.submit_cap is None else order.submit_cap // _PARTS

    def _room(self, order: SlurmSubmission) -> int:
        """Return how many more jobs the user may have in the queue."""
        if order.submit_cap is None:
            return order.packs
        ours = sum(job.uid == os.geteuid() for job in self.queue.jobs)
        return max(0, order.submit_cap - ours - self._newer())

    def _newer(self) -> int:
        """Return how many jobs were sent since the queue was looked at."""
        seen = {job.array_job for job in self.queue.jobs}
        return sum(
            chunk.count
            for order in self.orders
            for chunk in order.chunks.read()
            if chunk.job is not None
            and chunk.job.id not in seen
            and chunk.job.id not in self.queue.known
        )

    def _send(self, order: SlurmSubmission, chunk: ArrayJob) -> None:
        throttle, after = "", None
        if order.concurrent is not None:
            if order.concurrent < chunk.count:
                throttle = f"%{order.concurrent}"
            living = self._living_chunks(order)
            # Arrays know nothing of each other's throttle: one after the other, they share it.
            after = f"afterany:{':'.join(map(str, living))}" if living else None
        sending = Sending(chunk.name, f"{chunk.array}{throttle}", after)
        (order.folder / "output").mkdir(exist_ok=True)  # or SLURM cannot open what jobs print
        job = int(submit(order.job, sending, order.scripts))
        order.chunks.claim(chunk, job)
        self.sent.append((order, chunk, job))
        self.changed = True

    def _living_chunks(self, order: SlurmSubmission) -> list[int]:
        orders = [other for other in self.orders if other.user == order.user]
        living = {job.array_job for job in self._living(orders)}
        return sorted(living | {job for _, _, job in self.sent})[-1:]

    def _living(self, orders: Sequence[SlurmSubmission]) -> Sequence[Queued]:
        """Return the jobs of the chunks of some orders that are in the queue."""
        chunks = [chunk for order in orders for chunk in order.chunks.read()]
        ours = {(chunk.name, chunk.job.id) for chunk in chunks if chunk.job is not None}
        return [job for job in self.queue.jobs if (job.name, job.array_job) in ours]

    def _send_feeder(self) -> None:
        """Send the job that goes on feeding, unless one waits already."""
        order = next(iter(self._open()))
        if order.feeder is None or self.fed:
            return
        name = order.feeder_name
        if [job for job in self.queue.ids(name) if job != self.own_job]:
            return
        waited_for = self._waited_for()
        if waited_for is None:
            self.shut_out = True
            note_refusal(order, "the queue is full for you with jobs of other studies")
            return
        try:
            submit(order.feeder, Sending(name, dependency=f"afterany:{waited_for}"), order.scripts)
        except SlurmError as error:
            self.shut_out = isinstance(error, QueueFull | NoAnswer)
            note_refusal(order, str(error))
            _log.warning("the next `thermolion submit` sends the rest, no job can: %s", error)
        else:
            self.fed = self.changed = True
            note_refusal(order, None)

    def _send_after(self) -> None:
        """Send the job that looks after the study once all others have ended, unless one waits."""
        order = self.orders[-1] if self.orders else None
        if order is None or order.after is None or order.chunks.is_cancelled:
            return
        if [job for job in self.queue.ids(order.after_name) if job != self.own_job]:
            return
        living = {job.array_job for job in self._living(self.orders)}
        ids = sorted(living | {job for _, _, job in self.sent})
        if not ids:
            return
        sending = Sending(order.after_name, dependency=f"afterany:{':'.join(map(str, ids))}")
        try:
            submit(order.after, sending, order.scripts)
            self.changed = True
        except SlurmError as error:
            _log.warning("nobody looks after the study but the next `submit`: %s", error)

    def _waited_for(self) -> str | None:
        """Return the task whose end should make room: the middle one of those in the queue."""
        tasks = [f"{job.array_job}_{job.task}" for job in self._living(self.orders)]
        tasks += [f"{job}_{pack}" for _, chunk, job in self.sent for pack in chunk.packs]
        return tasks[len(tasks) // 2] if tasks else None


def main() -> None:
    """Feed the study that the command line names, from within a job."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    layout = Layout(Path(sys.argv[1]), sys.argv[2])
    retry_until(lambda: not _feed(layout).shut_out)


def _feed(layout: Layout) -> Dispatcher:
    with Lock(layout.lock, wait_s=_LOCK_WAIT_S):
        orders = read_orders(layout)
        queue = read_queue(expected(orders))
        feeding = Dispatcher(orders, queue, own_job(os.environ))
        left = feeding.feed()
    _log.info("%d packs sent, %d left", sum(chunk.count for _, chunk, _ in feeding.sent), left)
    return feeding


if __name__ == "__main__":
    main()
