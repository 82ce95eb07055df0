"""How the packs of an order stand: by what their jobs have left behind, else by the queue.

Asks nobody: a queue is handed in. A pack whose job has left no word has ended only if the queue
proves it; if nobody knows, it is better waited for than trained twice.

Stopping, holding and releasing the jobs of an order: by pack, or all of it.
"""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from jobs.contract.atomic_write import write_once
from slurm.commands import ask
from slurm.slurm_errors import SlurmError
from slurm.squeue import Expected, Key, Outstanding, Queue, State
from slurm.submission import ArrayJob, SlurmSubmission, cancel_mark


def recorded(order: SlurmSubmission) -> dict[int, State | None]:
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


def expected(orders: Sequence[SlurmSubmission]) -> Expected:
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


def asked(
    order: SlurmSubmission, states: Mapping[int, State | None], queue: Queue
) -> dict[int, State]:
    """Return the state of every pack, with the queue's word where there is no other."""
    chunks = {pack: chunk for chunk in order.chunks.read() for pack in chunk.packs}
    is_over = order.chunks.is_over
    return {
        pack: state or _in_queue(chunks.get(pack), pack, queue, is_over)
        for pack, state in states.items()
    }


def living(order: SlurmSubmission, queue: Queue) -> dict[int, tuple[int, State]]:
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


def _ids(chunk: ArrayJob, queue: Queue) -> list[int]:
    return [chunk.job.id] if chunk.job is not None else queue.ids(chunk.name)


def _in_queue(chunk: ArrayJob | None, pack: int, queue: Queue, is_over: bool) -> State:
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


_CANCELLED = "130"  # what a lane would answer that was stopped by its user
_STOPPING_S = 240.0  # SLURM's KillWait, and some
_LOOK_S = 1.0
_AT_ONCE = 500  # ids in one call


def cancel(
    order: SlurmSubmission, packs: Collection[int] | None, look: Callable[[], Queue]
) -> None:
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


def hold(
    order: SlurmSubmission, packs: Collection[int], held: bool, look: Callable[[], Queue]
) -> int:
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


def _leave_word(order: SlurmSubmission, pack: int) -> None:
    """Say in a job's stead that it has ended: should it start all the same, it leaves at once."""
    output = order.folder / "output"
    output.mkdir(exist_ok=True)
    cancel_mark(order.folder, pack).unlink(missing_ok=True)
    for process in range(order.lanes):
        write_once(output / exit_name(pack, process), f"{_CANCELLED}\n")


def _slices(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _AT_ONCE):
        yield ids[start : start + _AT_ONCE]
