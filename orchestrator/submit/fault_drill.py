"""A drill that shows whether a sweep's training survives a fault, on a development cluster.

The study of the drill has a folder of its own, removed at the end; the user's is not touched.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.contract import events
from orchestrator.progress.status import read_status
from orchestrator.study.study import Study, open_study
from orchestrator.submit.submit import cancel_study, send_remaining, submit_study
from orchestrator.submit.writer import SendOptions
from orchestrator.sweep.document import SweepError
from slurm.devcluster.cluster import Cluster
from slurm.devcluster.faults import Fault, Victim, find_victim, inject_fault
from slurm.submission import read_slurm_submissions
from tracking.outcomes import Outcome, read_outcomes

_LOOK_S = 0.5
_PATIENCE_S = 600.0  # until a trial begins, and until it goes on
_SAVES_BY_S = 60.0


@dataclass(frozen=True)
class DrillResult:
    """The result of one fault: seconds until the node was free and until the trial went on.

    Of the steps that were logged, `first` is the first of all, `before` the last one before the
    fault, `after` the first of the next attempt; None if that ended without another.
    """

    fault: Fault
    trial: str
    node: str
    free_s: float
    resumed_s: float
    before: int
    after: int | None
    first: int

    @property
    def resumed(self) -> bool:
        """Return True if the next attempt went on from a checkpoint instead of the beginning."""
        return self.after is None or self.after > self.first

    def __str__(self) -> str:
        went = "resumed" if self.resumed else "STARTED AGAIN FROM THE BEGINNING"
        what = "the job waited again" if self.fault == "node-fail" else f"{self.node} was free"
        free = f"{what} after {self.free_s:.1f} s"
        if self.fault == "timeout":  # within a minute SLURM sees that the time is over
            free += ", SLURM's own watch included"
        at = "" if self.after is None else f", next logged at step {self.after}"
        return (
            f"{self.fault:<10} trial {self.trial}: {free}; training "
            f"{went} after {self.resumed_s:.1f} s (step {self.before} before{at})"
        )


def run_drill(target: str, cluster: Cluster, fault: Fault, options: SendOptions) -> DrillResult:
    """Send a sweep to a cluster, inject a fault into its first running trial, await its next step.

    Raises SweepError if that does not come within ten minutes.
    """
    with _open_copy(target, cluster) as study:
        submit_study(study, options)
        outcome = _await(study, lambda: _find_running(study), "no trial has begun")
        victim = _find_victim(study, cluster, outcome)
        first, before = outcome.curve[0].step, outcome.curve[-1].step
        known = len(outcome.attempt_log)
        begin = time.monotonic()
        with inject_fault(cluster, fault, victim) as free_s:
            trial = outcome.trial.id
            failure = f"trial {trial} has not gone on"
            resumed = _await(study, lambda: _find_resumed(study, trial, known), failure)
        resumed_s = time.monotonic() - begin
        after = _read_first_step(study, resumed)
        return DrillResult(fault, trial, victim.node, free_s, resumed_s, before, after, first)


@contextmanager
def _open_copy(target: str, cluster: Cluster) -> Iterator[Study]:
    """Open a sweep in a folder of the drill's own; remove it at the end."""
    root = Path(tempfile.mkdtemp(prefix="simulated-", dir=cluster.paths.folder))
    keys = ["backend=slurm", f"site={cluster.paths.profile}", "pack.at_least=0s"]
    keys += ["failures.unattended=false", "checkpoint.every=1s"]
    study = open_study(target, root, keys)
    try:
        yield study
    finally:
        cancel_study(study)
        shutil.rmtree(root, ignore_errors=True)


def _find_running(study: Study) -> Outcome | None:
    """Return a running trial that has a checkpoint, or has run long enough without one."""
    for outcome in read_outcomes(study.layout.events).values():
        saved = study.layout.checkpoint(outcome.trial.id).exists()
        waited_s = time.time() - (outcome.started_ms or 0) / 1000
        if outcome.state == "running" and outcome.curve and (saved or waited_s > _SAVES_BY_S):
            return outcome
    return None


def _find_resumed(study: Study, trial: str, known: int) -> Outcome | None:
    """Return a trial once another attempt has logged a step or a result, None before."""
    outcome = read_outcomes(study.layout.events)[trial]
    more = outcome.attempt_log[known:]
    return outcome if more and (more[-1].step is not None or outcome.has_result) else None


def _read_first_step(study: Study, outcome: Outcome) -> int | None:
    """Return the first step that the last attempt has logged."""
    log = study.layout.events / outcome.attempt_log[-1].log
    steps = [
        event.payload["step"]
        for event in events.read_events(log)
        if event.trial == outcome.trial.id and event.type == events.EVALUATED
    ]
    return min(steps, default=None)


def _find_victim(study: Study, cluster: Cluster, outcome: Outcome) -> Victim:
    sent_in, pack = outcome.job["submission"], outcome.job["pack"]
    for submission in read_slurm_submissions(study.layout):
        array_job = submission.array_jobs.by_pack().get(pack) if submission.id == sent_in else None
        if array_job is not None and array_job.id is not None:
            victim = find_victim(cluster, f"{array_job.id}_{pack}")
            if victim is not None:
                return victim
    raise SweepError(
        "the trials of this sweep end before anything can be done to them: make them longer, "
        "such as by --set workloads.0.epochs=1000"
    )


def _await(study: Study, look: Callable[[], Outcome | None], what: str) -> Outcome:
    end = time.monotonic() + _PATIENCE_S
    while True:
        outcome = look()
        if outcome is not None:
            return outcome
        if time.monotonic() > end:
            raise SweepError(f"{what} within {_PATIENCE_S:.0f} s (see thermolion cluster status)")
        read_status(study)  # reading the queue also requeues what waits in vain
        send_remaining(study)
        time.sleep(_LOOK_S)
