"""Stopping, holding and releasing the jobs of an order: by pack, or all of it."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence

from jobs.whole_file import write_once
from slurm.chunks import cancel_mark
from slurm.commands import ask
from slurm.order import Order
from slurm.progress import exit_name, living
from slurm.queue import Queue
from slurm.slurm_errors import SlurmError

_CANCELLED = "130"  # what a lane would answer that was stopped by its user
_STOPPING_S = 240.0  # SLURM's KillWait, and some
_LOOK_S = 1.0
_AT_ONCE = 500  # ids in one call


def cancel(order: Order, packs: Collection[int] | None, look: Callable[[], Queue]) -> None:
    """Stop jobs, and never send those that have not been; returns once none is in the queue.

    Running trials save and end at their next step. Raises SlurmError where they stay.
    """
    if packs is None:
        order.chunks.cancel()
    told: set[str] = set()
    end = time.monotonic() + _STOPPING_S
    while True:  # somebody may just have sent another one
        queue = look()
        found = living(order, queue)
        if packs is None:
            ours = [job for job, _ in found.values()]
            ours += [*queue.ids(order.feeder_name), *queue.ids(order.after_name)]
            ids = set(map(str, ours))
        else:
            found = {pack: found[pack] for pack in found.keys() & set(packs)}
            ids = {f"{job}_{pack}" for pack, (job, _) in found.items()}
            for pack in found:  # or it would take the signal for a preemption
                cancel_mark(order.folder, pack).touch()
            for pack in set(packs) - found.keys():
                _leave_word(order, pack)
        for some in _slices(sorted(ids - told)):
            ask(["scancel", "--quiet", *some])
        told |= ids
        if not found:
            return
        some_ids = f"submission {order.submission}: jobs {', '.join(sorted(ids)[:3])}"
        if queue.trouble is not None:
            raise SlurmError(f"{some_ids} were told to end, but maybe have not: {queue.trouble}")
        if time.monotonic() > end:
            raise SlurmError(
                f"{some_ids} do not end within {_STOPPING_S:.0f} s; look with squeue, and cancel "
                "again"
            )
        time.sleep(_LOOK_S)


def hold(order: Order, packs: Collection[int], held: bool, look: Callable[[], Queue]) -> int:
    """Keep what has not started from starting, or let it; return how many jobs that are.

    What runs goes on. What is not in the queue yet is held back together, or not at all: it is
    sent by number.
    """
    unsent = order.unsent()
    all_unsent = set(unsent) <= set(packs)
    if all_unsent:
        order.chunks.hold(held)
    found = living(order, look())
    waiting = [p for p in sorted(packs) if p in found and found[p][1] == "queued"]
    verb = "hold" if held else "release"
    for some in _slices([f"{found[pack][0]}_{pack}" for pack in waiting]):
        ask(["scontrol", verb, ",".join(some)])
    return len(waiting) + (len(unsent) if all_unsent else 0)


def _leave_word(order: Order, pack: int) -> None:
    """Say in a job's stead that it has ended: should it start all the same, it leaves at once."""
    output = order.folder / "output"
    output.mkdir(exist_ok=True)
    cancel_mark(order.folder, pack).unlink(missing_ok=True)
    for process in range(order.lanes):
        write_once(output / exit_name(pack, process), f"{_CANCELLED}\n")


def _slices(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _AT_ONCE):
        yield ids[start : start + _AT_ONCE]
