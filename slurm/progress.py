"""How the packs of an order stand: by what their jobs have left behind, else by the queue.

Asks nobody: a queue is handed in. A pack whose job has left no word has ended only if the queue
proves it; if nobody knows, it is better waited for than trained twice.
"""

import os
from collections.abc import Mapping, Sequence

from slurm.chunks import Chunk
from slurm.order import Order
from slurm.queue import Expected, Key, Outstanding, Queue
from slurm.states import State


def recorded(order: Order) -> dict[int, State | None]:
    """Return the state of every pack, None where only the queue can tell."""
    output = order.folder / "output"
    left = {path.name for path in output.glob("*.exit")} if output.is_dir() else set()
    chunks = order.chunks
    sent = {pack for chunk in chunks.read() for pack in chunk.packs}
    unsent: State = "ended" if chunks.is_over else "queued"
    states: dict[int, State | None] = {}
    for pack in range(order.packs):
        words = {exit_name(pack, process) for process in range(order.lanes)}
        states[pack] = "ended" if words <= left else None if pack in sent else unsent
    return states


def expected(orders: Sequence[Order]) -> Expected:
    """Return what some orders of a study let one expect in the queue; to be read before it is.

    Users are told by the owners of files: the name in the environment may be anybody's.
    """
    jobs: dict[Key, Outstanding] = {}
    uids, known = {os.geteuid()}, set()
    for order in orders:
        is_cancelled = order.chunks.is_cancelled
        output = order.folder / "output"
        states = recorded(order)
        for chunk in order.chunks.read():
            uids.add(chunk.uid)
            if chunk.job is None:
                continue
            known.add(chunk.job.id)
            for pack in chunk.packs:
                if states.get(pack) is None:
                    is_told = is_cancelled or (output / end_name(pack)).exists()
                    jobs[chunk.name, chunk.job.id, pack] = Outstanding(chunk.uid, not is_told)
    study = orders[0].layout.folder
    return Expected(study, frozenset(uids), jobs, frozenset(known))


def asked(order: Order, states: Mapping[int, State | None], queue: Queue) -> dict[int, State]:
    """Return the state of every pack, with the queue's word where there is no other."""
    chunks = {pack: chunk for chunk in order.chunks.read() for pack in chunk.packs}
    is_over = order.chunks.is_over
    return {
        pack: state or _in_queue(chunks.get(pack), pack, queue, is_over)
        for pack, state in states.items()
    }


def living(order: Order, queue: Queue) -> dict[int, tuple[int, State]]:
    """Return, by pack, the array job and the state of those that are not known to have ended."""
    found: dict[int, tuple[int, State]] = {}
    states = recorded(order)
    for chunk in order.chunks.read():
        for job in _ids(chunk, queue):
            for pack in chunk.packs:
                key = (chunk.name, job, pack)
                queued = queue.by_key.get(key)
                if queued is not None:
                    found[pack] = (job, queued.state)
                elif queue.misses(key) and states[pack] is None:
                    found[pack] = (job, "running")
    return found


def end_name(pack: int) -> str:
    """Return the name under which is kept what SLURM said of a job that left no exit code."""
    return f"{pack}.end"


def exit_name(pack: int, process: int) -> str:
    """Return the name under which a lane of a job leaves its exit code."""
    return f"{pack}.{process}.exit" if process else f"{pack}.exit"


def _ids(chunk: Chunk, queue: Queue) -> list[int]:
    return [chunk.job.id] if chunk.job is not None else queue.ids(chunk.name)


def _in_queue(chunk: Chunk | None, pack: int, queue: Queue, is_over: bool) -> State:
    if chunk is None:  # retracted since
        return "queued"
    for job in _ids(chunk, queue):
        queued = queue.by_key.get((chunk.name, job, pack))
        if queued is not None:
            return queued.state
    if chunk.job is None:  # sbatch has not answered yet, or never did: the next feeding finds out
        return "ended" if is_over else "queued"
    key = (chunk.name, chunk.job.id, pack)
    if key in queue.ended or key in queue.gone:
        return "ended"
    # Nobody knows of it; or it was sent since the queue was seen.
    return "running" if chunk.job.id in queue.known else "queued"
