"""One siege from its beginning to its verdict, and the study that nobody touches beside it."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import KINDS, RANK_KILLED, SUBMIT_KILLED
from processes import wait_for
from schedule import draw
from siege import Siege
from slurm_lab import Lab
from subject import STUDY, SWEEP, TRIALS, progress, results
from verdict import Verdict, judge

from slurm.dev_cluster import Cluster

_TURNS = 3  # how often a fault may find nobody, on average


@dataclass(frozen=True)
class Calm:
    """The study that goes on in peace, and how long it took to submit it."""

    lab: Lab
    submit_s: float

    def results(self) -> Mapping[str, Any]:
        """Wait for its results."""
        layout = self.lab.layout(STUDY)
        wait_for(lambda: progress(layout)[1] == TRIALS, seconds=600)
        return results(layout)


@contextmanager
def calm_study(cluster: Cluster, folder: Path) -> Iterator[Calm]:
    """Send the study to this machine, where nothing is done to it; stop what is left of it."""
    folder.mkdir()
    lab = Lab(cluster, folder)
    begin = time.monotonic()
    said = lab.call("submit", lab.write(SWEEP), "--backend", "local")
    assert said.code == 0, said.err
    try:
        yield Calm(lab, time.monotonic() - begin)
    finally:
        lab.call("cancel", STUDY)


def besiege(
    lab: Lab, seed: int, count: int, submit_s: float, calm: Callable[[], Mapping[str, Any]]
) -> tuple[Siege, Verdict]:
    """Do `count` faults to a study while its user submits it again and again; judge the rest."""
    siege = Siege(lab, submit_s)
    waiting = deque(draw(seed, count, list(KINDS), SUBMIT_KILLED))
    try:
        for turn in range(_TURNS * count):
            if not waiting or progress(siege.layout)[1] >= TRIALS:
                break
            of_ranks = any(planned.kind == RANK_KILLED for planned in waiting)
            siege.pace(sum(siege.faults.values()) / count, of_ranks)
            planned = waiting.popleft()
            if not siege.strike(planned, KINDS[planned.kind]):
                waiting.append(planned)
            if turn == count // 2:
                siege.collect()  # what there is by now
        quiet = siege.settle()
    finally:
        siege.mend(what="events folder")  # or nobody could remove it
    siege.tell("quiet" if quiet else "NOT QUIET")
    verdict = judge(siege, calm(), quiet)
    siege.tell("judged")
    return siege, verdict
