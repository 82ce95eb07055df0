"""One siege from its beginning to its verdict, and the study in peace that it is measured by."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import KINDS, RANK_KILLED, SUBMIT_KILLED
from schedule import draw
from siege import Siege
from slurm_lab import Lab
from subject import STUDY, SWEEP, TRIALS, progress, results
from verdict import Verdict, judge

from slurm.devcluster.cluster import Cluster

_TURNS = 3  # how often a fault may find nobody, on average
_CALM_S, _LOOK_S = 600.0, 0.3


@dataclass(frozen=True)
class Calm:
    """What becomes of the study in peace, and how long it took to submit it."""

    results: Mapping[str, Any]
    submit_s: float


def calm_study(cluster: Cluster, folder: Path) -> Calm:
    """Send the study to the cluster, to which nothing is done meanwhile, and wait for its end."""
    folder.mkdir()
    lab = Lab(cluster, folder)
    begin = time.monotonic()
    said = lab.call("submit", lab.write(SWEEP))
    submit_s = time.monotonic() - begin
    assert said.code == 0, said.err
    while len(progress(lab.layout(STUDY))[1]) < TRIALS or lab.squeue():
        assert time.monotonic() - begin < _CALM_S, "the study in peace does not come to an end"
        time.sleep(_LOOK_S)
    return Calm(results(lab.layout(STUDY)), submit_s)


def besiege(lab: Lab, seed: int, count: int, calm: Calm) -> tuple[Siege, Verdict]:
    """Do `count` faults to a study while its user submits it again and again; judge the rest."""
    siege = Siege(lab, calm.submit_s)
    waiting = deque(draw(seed, count, list(KINDS), SUBMIT_KILLED))
    try:
        for turn in range(_TURNS * count):
            if not waiting or siege.has_ended():
                break
            siege.struck = sum(siege.faults.values()) / count
            siege.needs_ranks = any(planned.kind == RANK_KILLED for planned in waiting)
            planned = waiting.popleft()
            if not siege.strike(planned, KINDS[planned.kind]):
                waiting.append(planned)
            if turn == count // 2:
                siege.collect()  # what there is by now
        quiet = siege.settle()
    finally:
        siege.mend(what="events folder")  # or nobody could remove it
    siege.tell("quiet" if quiet else f"NOT QUIET\n{siege.scene()}")
    verdict = judge(siege, calm.results, quiet)
    siege.tell("judged")
    return siege, verdict
