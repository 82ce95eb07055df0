"""Feeds a study to the queue: as many packs as its limits allow, the rest by a later feeding.

Called where trials are sent, and on a node by a small job (`python -m slurm.feed ROOT STUDY`) that
starts when room should be. Whoever feeds holds the study's lock.
"""

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobs.layout import Layout
from jobs.lock import Lock
from slurm.chunks import Chunk
from slurm.environment import place_of_feeder
from slurm.executor import QueueFull, Sending, submit
from slurm.order import Order, read_orders
from slurm.queue import Queue, read_queue

_LOCK_WAIT_S = 60.0

_log = logging.getLogger(__name__)


@dataclass
class Feeding:
    """One feeding of a study. `own_job` is the id of the job that feeds, where it is one."""

    orders: Sequence[Order]
    queue: Queue
    own_job: int | None = None
    sent: list[tuple[Order, Chunk, int]] = field(default_factory=list)

    def feed(self) -> int:
        """Send what there is room for; return how many packs remain for later."""
        try:
            for order in self.orders:
                self._recover(order)
            for order in self._open():
                while self._next(order):
                    pass
        except QueueFull as full:
            _log.info("the queue is full: %s", full)
        left = sum(len(order.unsent()) for order in self._open())
        if left:
            self._send_feeder()
        return left

    def _open(self) -> Iterator[Order]:
        """Yield the orders of which something is to be sent now."""
        for order in self.orders:
            if order.unsent() and not order.chunks.is_held:
                yield order

    def _recover(self, order: Order) -> None:
        """Find the jobs of chunks whose sender got no answer, or send these chunks again."""
        for chunk in order.chunks.read():
            if chunk.job is not None or order.chunks.is_cancelled:
                continue
            found = self.queue.ids(chunk.name)
            if found:
                order.chunks.claim(chunk, found[0])
            elif chunk.count <= self._room(order, reserve=0):
                self._send(order, chunk)

    def _next(self, order: Order) -> bool:
        """Send one chunk of an order; return whether there may be room for another one."""
        unsent = order.unsent()
        count = min(len(unsent), self._room(order, reserve=0))
        if count < len(unsent):
            count = min(len(unsent), self._room(order, reserve=1))  # the feeder takes a place
        if count < 1:
            return False
        number = len(order.chunks.read())
        while True:
            chunk = order.chunks.intend(number, unsent.start, count)
            try:
                self._send(order, chunk)
            except QueueFull:
                order.chunks.retract(chunk)
                count //= 2  # of a limit that nobody has told us of
                if count < 1:
                    raise
                continue
            except Exception:
                order.chunks.retract(chunk)
                raise
            return bool(order.unsent())

    def _room(self, order: Order, reserve: int) -> int:
        """Return how many more jobs the user may have in the queue."""
        if order.submit_cap is None:
            return order.packs
        queued = len(self.queue.jobs) + sum(chunk.count for _, chunk, _ in self.sent)
        return max(0, order.submit_cap - queued - reserve)

    def _send(self, order: Order, chunk: Chunk) -> None:
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

    def _living_chunks(self, order: Order) -> list[int]:
        living = {job.array_job for job in self.queue.jobs}
        known = {
            chunk.job.id
            for other in self.orders
            if other.user == order.user
            for chunk in other.chunks.read()
            if chunk.job is not None
        }
        return sorted((known & living) | {job for _, _, job in self.sent})[-1:]

    def _send_feeder(self) -> None:
        """Send the job that goes on feeding, unless one waits already."""
        order = next(iter(self._open()))
        if order.feeder is None or order.submit_cap is None:
            return
        name = f"{order.layout.study}-{order.submission}-feed"
        if [job for job in self.queue.ids(name) if job != self.own_job]:
            return
        waited_for = self._waited_for()
        if waited_for is None:
            return
        try:
            submit(order.feeder, Sending(name, dependency=f"afterany:{waited_for}"), order.scripts)
        except QueueFull:
            _log.info("no room for the job that sends the rest: the next `submit` does it")

    def _waited_for(self) -> str | None:
        """Return the task whose end should make room: the middle one of those in the queue."""
        ours = {c.job.id for o in self.orders for c in o.chunks.read() if c.job is not None}
        tasks = [f"{j.array_job}_{j.task}" for j in self.queue.jobs if j.array_job in ours]
        tasks += [f"{job}_{pack}" for _, chunk, job in self.sent for pack in chunk.packs]
        return tasks[len(tasks) // 2] if tasks else None


def main() -> None:
    """Feed the study that the command line names, from within a job."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    layout = Layout(Path(sys.argv[1]), sys.argv[2])
    with Lock(layout.lock, wait_s=_LOCK_WAIT_S):
        orders = read_orders(layout)
        queue = read_queue({order.user for order in orders})
        feeding = Feeding(orders, queue, place_of_feeder())
        left = feeding.feed()
    _log.info("%d packs sent, %d left", sum(chunk.count for _, chunk, _ in feeding.sent), left)


if __name__ == "__main__":
    main()
