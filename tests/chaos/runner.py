"""One siege from its beginning to its verdict, and the study that nobody touches beside it."""

from collections import deque
from collections.abc import Callable, Mapping
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


def begin_calm(cluster: Cluster, folder: Path) -> Lab:
    """Send the study to this machine, where nothing is done to it."""
    folder.mkdir()
    lab = Lab(cluster, folder)
    said = lab.call("submit", lab.write(SWEEP), "--backend", "local")
    assert said.code == 0, said.err
    return lab


def end_calm(lab: Lab) -> Mapping[str, Any]:
    """Wait for its results."""
    layout = lab.layout(STUDY)
    wait_for(lambda: progress(layout)[1] == TRIALS, seconds=600)
    return results(layout)


def besiege(
    lab: Lab, seed: int, count: int, calm: Callable[[], Mapping[str, Any]]
) -> tuple[Siege, Verdict]:
    """Do `count` faults to a study while its user submits it again and again; judge the rest."""
    siege = Siege(lab)
    waiting = deque(draw(seed, count, list(KINDS), SUBMIT_KILLED))
    for turn in range(_TURNS * count):
        if not waiting:
            break
        of_ranks = any(planned.kind == RANK_KILLED for planned in waiting)
        siege.pace(sum(siege.faults.values()) / count, of_ranks)
        planned = waiting.popleft()
        if not siege.strike(planned, KINDS[planned.kind]):
            waiting.append(planned)
        if turn == count // 2:
            lab.call("collect", siege.sweep, **siege.variables)  # what there is by now
    ended = siege.settle()
    verdict = judge(siege, calm())
    if not ended:
        siege.tell("processes of the study live on")
    return siege, verdict
