"""A job that leaves before it has finished: why, what it has gained, and how it comes back.

Calls two or three commands of SLURM, at the end; trains nothing.
"""

import logging
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jobs.contract.attempts import Attempts, read_discards
from jobs.contract.failures import FailureClass
from jobs.contract.pack import Pack
from jobs.worker import checkpoint
from slurm.commands import ask_if_allowed
from slurm.environment import JobProcess
from slurm.hours_cap import may_start_again
from slurm.queue.job_ends import write_end
from slurm.queue.squeue import read_jobs
from slurm.slurm_errors import SlurmError
from slurm.submission import ArrayJobs, cancel_mark

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_WARNINGS = (signal.SIGUSR1.name, signal.SIGUSR2.name)  # that the time is nearly over
_EARLY_S = 75.0  # SLURM sends a signal up to a minute before the time that was asked for
# From now to the next start; SLURM has to have cleared up by then, or makes it two minutes.
_BACK_IN_S = 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Requeue:
    """What one process of a job has to know to leave it early.

    `time_min` is the limit of the job, None if the partition sets it; `begin_s` when this process
    began (monotonic), which is soon after the job did. `worker` is the submission whose logs have
    the progress, if that is not the one of the job.
    """

    pack: Pack
    here: JobProcess
    time_min: int | None
    grace_s: int
    may_requeue: bool
    worker: str | None = None
    begin_s: float = field(default_factory=time.monotonic)

    @staticmethod
    def of(
        pack: Pack, here: JobProcess, request: Mapping[str, Any], worker: str | None = None
    ) -> "Requeue":
        """Return it for a pack, from the backend's part of the record of a submission."""
        parameters = request["job"]["parameters"]
        return Requeue(
            pack,
            here,
            parameters["time"],
            parameters["signal_delay_s"],
            "no-requeue" not in parameters["additional_parameters"],
            worker,
        )

    def judge(self, reason: str, at_s: float) -> FailureClass | str:
        """Return the class of failure of a signal that came at a time (monotonic seconds)."""
        if reason not in {number.name for number in SIGNALS} or self._is_cancelled():
            return ""
        if self.time_min is None:
            return "TIMEOUT" if reason in _WARNINGS else "PREEMPTED"
        left_s = self.begin_s + 60 * self.time_min - at_s
        return "TIMEOUT" if left_s <= self.grace_s + _EARLY_S else "PREEMPTED"

    def state(self) -> dict[str, str | None]:
        """Return, by trial, the fingerprint of its checkpoint, `ended` for one that has ended."""
        layout = self.pack.layout
        attempts = Attempts(layout.events, read_discards(layout)).refresh()
        ends = attempts.ends(self.worker or self.pack.submission)
        marks: dict[str, str | None] = {}
        for trial in self.pack.trials:
            path = layout.checkpoint(trial.id)
            marks[trial.id] = "ended" if trial.id in ends else checkpoint.fingerprint(path)
        return marks

    def leave(self, kind: str, before: Mapping[str, str | None]) -> None:
        """Go back into the queue, or write down why not; to be called by one process of a job.

        A job whose time is over and that has got no further than it was before does not go back:
        it would do so for ever. A preemption is nobody's fault.
        """
        if not kind:
            return
        gained = self.state() != before
        if kind == "TIMEOUT" and not gained:
            _log.error("the time is over and nothing was saved: give it more (`resources.time`)")
        elif self._requeue(kind):
            return
        if kind == "TIMEOUT":
            folder = self.pack.layout.submission(self.pack.submission)
            write_end(folder, self.here.pack, kind, self.here.node_name or "", gained)

    def _requeue(self, kind: str) -> bool:
        """Have SLURM start this job again soon; return True if it will, as far as we know."""
        if not self.may_requeue:
            _log.warning("not requeued, as the site profile says: the next submit sends the rest")
            return False
        if kind != "PREEMPTED" and not self._fits_cap():
            _log.warning("not requeued: the study is held at its cap of hours")
            return False
        with _ignoring_signals():
            queued = False
            if kind != "PREEMPTED" or not self._is_ended():
                queued = ask_if_allowed(["scontrol", "requeue", self.here.task_id])
            if queued or kind == "PREEMPTED":  # SLURM requeues what it has preempted by itself
                # While the job has not ended, its next start can still be set.
                start = ["scontrol", "update", f"jobid={self.here.task_id}"]
                queued = ask_if_allowed([*start, f"StartTime=now+{_BACK_IN_S}"]) or queued
        if not queued:
            _log.warning("not requeued: the next `thermolion submit` sends the rest")
        return queued

    def _is_ended(self) -> bool:
        """Return True if SLURM has ended this job already, which a signal alone does not tell.

        Either it has requeued it, or somebody has cancelled it, who wants it to stay so.
        """
        try:
            jobs = read_jobs([self.here.task_id]).jobs
        except SlurmError:
            return False
        return [job.word for job in jobs] == ["COMPLETING"]

    def _fits_cap(self) -> bool:
        """Return True if what this run has taken leaves its cap room for another one."""
        taken_s = time.monotonic() - self.begin_s
        folder = self.pack.layout.submission(self.pack.submission)
        return may_start_again(self.pack.layout, (folder / "output", self.here.pack, taken_s))

    def _is_cancelled(self) -> bool:
        layout, submission = self.pack.layout, self.pack.submission
        mark = cancel_mark(layout.submission(submission), self.here.pack)
        return mark.exists() or ArrayJobs(layout, submission).is_cancelled


@contextmanager
def _ignoring_signals() -> Iterator[None]:
    """Have the commands of this job outlive the signal that a requeue sends to all of it.

    A child ignores the signals that we ignore, but has none of our handlers.
    """
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
