"""A drill that shows whether a sweep's training survives a fault, on a development cluster.

The study of the drill has a folder of its own, removed at the end; the user's is not touched.
"""

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.contract import events
from orchestrator.progress.status import Status, read_status
from orchestrator.study.study import Study, open_study
from orchestrator.submit.submit import cancel_study, send_remaining, submit_study
from orchestrator.submit.writer import SendOptions
from orchestrator.sweep.document import SweepError
from slurm.devcluster.cluster import Cluster
from slurm.devcluster.faults import Fault, Victim, find_victim, inject_fault
from slurm.submission import read_slurm_submissions
from thermolion.errors import OperationError
from tracking.outcomes import Outcome

_LOOK_S = 0.5
_PATIENCE_S = 600.0  # until a trial begins, and until it goes on
_GONE_S = 15.0  # that no job of it is in the queue: SLURM requeues sooner
_SAVES_BY_S = 60.0
_LEAST_S, _LONG_S = 0.05, 600.0  # that a trial was measured to take; that it is to take


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


class TrialTooShort(OperationError):  # noqa: N818 - a state, after which a longer copy is tried
    """A trial has its result before anything could be done to it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.trial.id)
        self.outcome = outcome


def run_drill(
    target: str,
    cluster: Cluster,
    fault: Fault,
    options: SendOptions,
    tell: Callable[[str], None] = lambda _: None,
) -> DrillResult:
    """Send a sweep to a cluster, inject a fault into its first trial, await its next step.

    If that trial ends too soon to be hit, `tell` hears so, and a copy of it goes that trains for
    minutes. Raises SweepError if its job ends by itself, if it cannot be made longer, or if it has
    not gone on within ten minutes.
    """
    try:
        return _run_copy(target, cluster, fault, options, [])
    except TrialTooShort as short:
        longer = _make_longer(target, short.outcome)
        trial, seconds = short.outcome.trial.id, short.outcome.train_seconds or 0.0
        tell(f"trial {trial} trains for {seconds:.1f} s, too short to hit: again with {longer}")
    try:
        return _run_copy(target, cluster, fault, options, [longer])
    except TrialTooShort as short:
        raise SweepError(
            f"trial {short.outcome.trial.id} ends before anything can be done to it, with "
            f"{longer} as well: make it longer"
        ) from short


def _run_copy(
    target: str, cluster: Cluster, fault: Fault, options: SendOptions, overrides: Sequence[str]
) -> DrillResult:
    with _open_copy(target, cluster, overrides) as study:
        submit_study(study, options, lambda status: status.missing[:1])
        begun = "no trial has come to its first checkpoint"
        outcome = _await(study, lambda status: _find_running(study, status), begun)
        victim = _find_victim(study, cluster, outcome)
        first, before = outcome.curve[0].step, outcome.curve[-1].step
        known = len(outcome.attempt_log)
        begin = time.monotonic()
        with inject_fault(cluster, fault, victim) as free_s:
            trial = outcome.trial.id
            resumed = _await(
                study,
                lambda status: _find_resumed(status, trial, known),
                f"trial {trial} has not gone on",
            )
        resumed_s = time.monotonic() - begin
        after = _read_first_step(study, resumed)
        return DrillResult(fault, trial, victim.node, free_s, resumed_s, before, after, first)


def _make_longer(target: str, outcome: Outcome) -> str:
    """Return the override by which the workload of a short trial trains for minutes.

    Raises SweepError if its length is not the sweep's to say.
    """
    workload = outcome.trial.workload
    if workload.budget is None:
        raise SweepError(
            f"trial {outcome.trial.id} ends before anything can be done to it, and the sweep does "
            "not say how long it trains (`steps`): make it longer"
        )
    sweep = open_study(target).sweep
    key = f"{workload.unit}s"
    seconds = max(outcome.train_seconds or 0.0, _LEAST_S)
    budget = math.ceil(workload.budget * max(2.0, _LONG_S / seconds))
    written = sweep.document.data["workloads"]
    if isinstance(written, list):
        number = [one.name for one in sweep.workloads].index(workload.name)
        return f"workloads.{number}.{key}={budget}"
    if key in written.get("each", {}):
        return f"workloads.each.{key}=[{budget}]"
    return f"workloads.{key}={budget}"


@contextmanager
def _open_copy(target: str, cluster: Cluster, overrides: Sequence[str]) -> Iterator[Study]:
    """Open a sweep in a folder of the drill's own; remove it at the end."""
    root = Path(tempfile.mkdtemp(prefix="simulated-", dir=cluster.paths.folder))
    keys = ["backend=slurm", f"site={cluster.paths.profile}", "pack.at_least=0s"]
    keys += ["failures.unattended=false", "checkpoint.every=1s", *overrides]
    try:
        study = open_study(target, root, keys)
        try:
            yield study
        finally:
            cancel_study(study)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _find_running(study: Study, status: Status) -> Outcome | None:
    """Return a running trial that has a checkpoint, or has run long enough without one.

    Raises TrialTooShort if one has a result already, SweepError if one has failed.
    """
    for one in status.planned.values():
        outcome = one.outcome
        if outcome.has_result:
            raise TrialTooShort(outcome)
        if outcome.state == "failed":
            why = (outcome.error or "").partition("\n")[0]
            raise SweepError(
                f"trial {outcome.trial.id} fails before anything is done to it: {why}"
            )
        saved = study.layout.checkpoint(outcome.trial.id).exists()
        waited_s = time.time() - (outcome.started_ms or 0) / 1000
        if one.state == "running" and outcome.curve and (saved or waited_s > _SAVES_BY_S):
            return outcome
    return None


def _find_resumed(status: Status, trial: str, known: int) -> Outcome | None:
    """Return a trial once another attempt has logged a step or a result, None before."""
    outcome = status.planned[trial].outcome
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
            victim = find_victim(cluster, array_job.task_id(pack, array_job.id))
            if victim is not None:
                return victim
    raise SweepError(
        "the trials of this sweep end before anything can be done to them: make them longer, "
        "such as by --set workloads.0.epochs=1000"
    )


def _await(study: Study, look: Callable[[Status], Outcome | None], what: str) -> Outcome:
    """Look again and again; raises SweepError after a while, a short one if no job is left."""
    end = time.monotonic() + _PATIENCE_S
    lived_s = time.monotonic()
    while True:
        status = read_status(study)  # reading the queue also requeues what waits in vain
        outcome = look(status)
        if outcome is not None:
            return outcome
        now = time.monotonic()
        lived_s = now if status.jobs_alive else lived_s
        if now - lived_s > _GONE_S:
            failures = [one.failure for one in status.planned.values() if one.failure is not None]
            whys = [f": {one.kind}, {one.why.partition(chr(10))[0]}" for one in failures]
            raise SweepError(f"{what}, and its job has ended{''.join(whys[:1])}")
        if now > end:
            raise SweepError(f"{what} within {_PATIENCE_S:.0f} s (see thermolion cluster status)")
        send_remaining(study)
        time.sleep(_LOOK_S)
