"""One chaos run from its beginning to its verdict, and the undisturbed study beside it."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cap import Cap
from chaos_run import ChaosRun
from faults import HELPER_KILLED, KINDS, RANK_KILLED, SUBMIT_KILLED
from schedule import draw
from slurm_lab import Lab
from subject import STUDY, SWEEP, TRIALS, read_progress, read_results
from verdict import Verdict, judge

_TURNS = 3  # how often a fault may find nobody, on average
_UNDISTURBED_S, _LOOK_S = 600.0, 0.3


@dataclass(frozen=True)
class Reference:
    """What becomes of the undisturbed study, and how long it took to submit it."""

    results: Mapping[str, Any]
    submit_s: float


def run_undisturbed(lab: Lab) -> Reference:
    """Send the study to the cluster, to which nothing is done meanwhile, and wait for its end."""
    lab.folder.mkdir()
    begin = time.monotonic()
    said = lab.call("submit", lab.write(SWEEP))
    submit_s = time.monotonic() - begin
    assert said.code == 0, said.err
    while len(read_progress(lab.layout(STUDY))[1]) < TRIALS or lab.squeue():
        assert time.monotonic() - begin < _UNDISTURBED_S, "the undisturbed study does not end"
        time.sleep(_LOOK_S)
    return Reference(read_results(lab.layout(STUDY)), submit_s)


def run_chaos(
    lab: Lab, seed: int, count: int, reference: Reference, cap: float | None = None
) -> tuple[ChaosRun, Verdict]:
    """Inject `count` faults while the user submits again and again; judge what is left.

    `cap` is in CPU hours, and too low for the study; then nothing looks after the study.
    """
    run = ChaosRun(lab, reference.submit_s, None if cap is None else Cap(lab, cap))
    kinds = [kind for kind in KINDS if cap is None or kind != HELPER_KILLED]
    waiting = deque(draw(seed, count, kinds, SUBMIT_KILLED))
    try:
        for advance in range(_TURNS * count):
            if not waiting or run.has_ended():
                break
            run.injected = sum(run.faults.values()) / count
            run.needs_ranks = any(planned.kind == RANK_KILLED for planned in waiting)
            planned = waiting.popleft()
            if not run.inject(planned, KINDS[planned.kind]):
                waiting.append(planned)
            if advance == count // 2:
                run.collect()  # what there is by now
        quiet = run.settle()
    finally:
        run.repair(what="events folder")  # or nobody could remove it
    if run.cap is not None:
        run.cap.look()
        run.log(str(run.cap))
    run.log("quiet" if quiet else f"NOT QUIET\n{run.describe_leftovers()}")
    verdict = judge(run, reference.results, quiet)
    run.log("judged")
    return run, verdict
