"""The queue of some users, read by one call of squeue and kept for as long as the site asks.

Without sacct: a job that is not in the queue has ended, and what came of it the logs say.
"""

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from slurm.commands import ask
from slurm.errors import SlurmError
from slurm.states import State, state_of

_SLOWER = 1.5  # a queue in which nothing has changed is looked at less and less often
_SLOWEST = 4.5  # times the interval of the site
_STUCK = re.compile("launch.failed.requeued.held")  # the reason that SLURM gives for its own hold


@dataclass(frozen=True)
class Queued:
    """One job, or one task of an array: the id that it has with its array, and its name."""

    array_job: int
    task: int | None
    state: State
    reason: str
    name: str

    @property
    def is_stuck(self) -> bool:
        """Whether SLURM has held it by itself, after a node could not launch it."""
        return _STUCK.search(self.reason) is not None


@dataclass(frozen=True)
class Queue:
    """All jobs of some users that live, at a time (seconds since the epoch)."""

    jobs: Sequence[Queued]
    time_s: float
    # The array jobs whose ids were on disk before the question: these are in it, or have ended. No
    # clock could tell: those of nodes and of this machine may be hours apart.
    known: Collection[int] = frozenset()
    by_task: Mapping[tuple[int, int | None], Queued] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        found = {(job.array_job, job.task): job for job in self.jobs}
        object.__setattr__(self, "by_task", found)

    def ids(self, name: str) -> list[int]:
        """Return the ids of the living jobs of a name, an array once."""
        return sorted({job.array_job for job in self.jobs if job.name == name})


def read_queue(users: Collection[str], known: Collection[int] = frozenset()) -> Queue:
    """Ask for all jobs of some users at once; raises SlurmError where there is no answer.

    `known` are the ids of array jobs that have been read before.
    """
    now = time.time()
    command = ["squeue", "--noheader", "--array", f"--user={','.join(sorted(users))}"]
    said = ask([*command, "--format=%F|%K|%T|%r|%j"])
    return Queue(tuple(_job(line) for line in said.splitlines() if line.strip()), now, known)


class QueueWatch:
    """Remembers the queue between two looks, for one process."""

    def __init__(self) -> None:
        self._seen: dict[frozenset[str], Queue] = {}
        self._answered: dict[frozenset[str], float] = {}
        self._interval_s: dict[frozenset[str], float] = {}

    def look(self, users: Collection[str], every_s: float, known: Collection[int]) -> Queue:
        """Return the queue, asked for every `every_s` seconds at most, less often while it rests.

        An old answer serves where the controller gives none for a while.
        """
        key = frozenset(users)
        seen = self._seen.get(key)
        interval = self._interval_s.get(key, every_s)
        if seen is not None and time.monotonic() - self._answered[key] < interval:
            return seen
        try:
            queue = read_queue(users, known)
        except SlurmError:
            if seen is None:
                raise
            self._interval_s[key] = min(interval * 2, every_s * _SLOWEST)
            self._answered[key] = time.monotonic()
            return seen
        rests = seen is not None and seen.jobs == queue.jobs
        self._interval_s[key] = min(interval * _SLOWER, every_s * _SLOWEST) if rests else every_s
        self._seen[key], self._answered[key] = queue, time.monotonic()
        return queue

    def forget(self) -> None:
        """Ask again at the next look: something was sent or stopped."""
        self._seen.clear()


def _job(line: str) -> Queued:
    array_job, task, state, reason, name = line.split("|", 4)
    return Queued(
        int(array_job), int(task) if task.isdecimal() else None, state_of(state), reason, name
    )
