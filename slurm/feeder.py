"""The small job that sends the rest of an order: whether it is there, and what became of it.

Sends nothing, which is `slurm.feed`'s.
"""

from collections.abc import Sequence

from jobs.whole_file import write_whole
from slurm.order import Order
from slurm.queue import Queue

_REFUSED = "feed.refused"  # beside its log: why there is none


def is_fed(order: Order) -> bool:
    """Whether a job has to be in the queue that sends the rest of an order."""
    return order.feeder is not None and not order.chunks.is_held and bool(order.unsent())


def note_refusal(order: Order, why: str | None) -> None:
    """Keep in mind why no such job could be sent; None where it was."""
    path = order.folder / _REFUSED
    if why is None:
        path.unlink(missing_ok=True)
    else:
        write_whole(path, f"{why}\n")


def sending_on(orders: Sequence[Order], queue: Queue) -> str:
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


def _sent_since(order: Order, queue: Queue) -> bool:
    """Whether something was sent after the queue was looked at, and a feeder maybe with it."""
    jobs = [chunk.job for chunk in order.chunks.read()]
    return any(job is not None and job.id not in queue.known for job in jobs)


def _why(order: Order) -> str | None:
    """Return the last word on the matter: a refusal, or what the job itself has printed."""
    refused = order.folder / _REFUSED
    for path in (refused, order.feeder_log):
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        said = [line.strip() for line in lines if line.strip()]
        if said:
            return said[-1]
    return None
