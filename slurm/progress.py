"""How the packs of an order stand: by what their jobs have left behind, else by the queue.

Asks nobody: a queue is handed in. A pack whose job has left neither word nor place in the queue
has ended, whatever ended it.
"""

from collections.abc import Mapping

from slurm.chunks import Chunk
from slurm.order import Order
from slurm.queue import Queue
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


def asked(order: Order, states: Mapping[int, State | None], queue: Queue) -> dict[int, State]:
    """Return the state of every pack, with the queue's word where there is no other."""
    chunks = {pack: chunk for chunk in order.chunks.read() for pack in chunk.packs}
    is_over = order.chunks.is_over
    return {
        pack: state or _in_queue(chunks.get(pack), pack, queue, is_over)
        for pack, state in states.items()
    }


def living(order: Order, queue: Queue) -> dict[int, tuple[int, State]]:
    """Return, by pack, the array job and the state of those that are in the queue."""
    found: dict[int, tuple[int, State]] = {}
    for chunk in order.chunks.read():
        for job in _ids(chunk, queue):
            for pack in chunk.packs:
                queued = queue.by_key.get((chunk.name, job, pack))
                if queued is not None:
                    found[pack] = (job, queued.state)
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
    return "ended" if chunk.job.id in queue.known else "queued"  # sent since the queue was seen
