"""The queue of some users, read by one call of squeue and kept for as long as the site asks.

Without sacct: a job that is not in the queue has ended. For some minutes SLURM still says with
which word; what came of its trials the logs say.
"""

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from slurm.commands import ask
from slurm.slurm_errors import SlurmError
from slurm.states import State, state_of

_SLOWER = 1.5  # a queue in which nothing has changed is looked at less and less often
_SLOWEST = 4.5  # times the interval of the site
# The name of a job, and the ids of its array and its task. Ids alone do not tell: a controller
# that was killed has forgotten the last seconds, and gives the ids of then once more, to anybody.
Key = tuple[str, int, int | None]
_LINE = re.compile(r"(\d+)\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|(.*)")
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
    def key(self) -> Key:
        return self.name, self.array_job, self.task

    @property
    def is_stuck(self) -> bool:
        """Whether SLURM has held it by itself, after a node could not launch it."""
        return _STUCK.search(self.reason) is not None


@dataclass(frozen=True)
class Ended:
    """The last word on a job that SLURM has not forgotten yet, and the nodes that it had."""

    word: str
    nodes: str


@dataclass(frozen=True)
class Queue:
    """All jobs of some users that live.

    `ended` are those that SLURM still remembers.
    """

    jobs: Sequence[Queued]
    ended: Mapping[Key, Ended] = field(default_factory=dict, compare=False)
    # The array jobs whose ids were on disk before the question: these are in it, or have ended. No
    # clock could tell: those of nodes and of this machine may be hours apart.
    known: Collection[int] = frozenset()
    by_key: Mapping[Key, Queued] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_key", {job.key: job for job in self.jobs})

    def ids(self, name: str) -> list[int]:
        """Return the ids of the living jobs of a name, an array once."""
        return sorted({job.array_job for job in self.jobs if job.name == name})


def read_queue(users: Collection[str], known: Collection[int] = frozenset()) -> Queue:
    """Ask for all jobs of some users at once; raises SlurmError where there is no answer.

    `known` are the ids of array jobs that have been read before.
    """
    command = ["squeue", "--noheader", "--all", "--array", f"--user={','.join(sorted(users))}"]
    said = ask([*command, "--states=all", "--format=%F|%K|%T|%N|%r|%j"])
    living, ended = [], {}
    for line in said.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            continue  # the rest of a name with line breaks, which no job of ours has
        job, end = _job(*found.groups())
        if job.state == "ended":
            ended[job.key] = end
        else:
            living.append(job)
    return Queue(tuple(living), ended, known)


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

    def seen(self, users: Collection[str]) -> Queue | None:
        """Return the queue as it was last seen, None where it was not; asks nobody."""
        return self._seen.get(frozenset(users))

    def forget(self) -> None:
        """Ask again at the next look: something was sent or stopped."""
        self._seen.clear()


def _job(
    array_job: str, task: str, word: str, nodes: str, reason: str, name: str
) -> tuple[Queued, Ended]:
    number = int(task) if task.isdecimal() else None
    return Queued(int(array_job), number, state_of(word), reason, name), Ended(word, nodes)
