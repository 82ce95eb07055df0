"""Which job of a study a job in the queue is, although its name may be another one by now.

A site's rules may put a prefix before the name of every job, and whoever may do so can rename one.
An id alone tells nothing: a controller that was killed gives the ids of its last seconds again.
But what a job runs is a file of the submission that it was sent for. Asks SLURM nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath


@dataclass(frozen=True)
class JobNames:
    """The names that jobs of a study were sent with.

    `arrays` has those of array jobs by their id and the folder of their batch script, of which the
    last parts tell: on another machine the root may be mounted elsewhere. `others` has those of
    single jobs by that folder.
    """

    arrays: Mapping[tuple[tuple[str, ...], int], str] = field(default_factory=dict)
    others: Mapping[PurePath, str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    def find(self, name: str, array_job: int, command: str) -> str:
        """Return the name that a job was sent with; its present `name` if it is none of ours."""
        if name in self.names:
            return name
        inside = next((ours for ours in self.names if ours in name), None)
        if inside is not None:
            return inside
        folder = PurePath(command).parent
        for (end, number), ours in self.arrays.items():
            if number == array_job and folder.parts[-len(end) :] == end:
                return ours
        return self.others.get(folder, name)
