"""This machine as a backend: a detached pool of processes, which outlives the terminal."""

import os
import signal
import sys
import time
from collections.abc import Mapping

from jobs.layout import Layout
from jobs.process import Process
from orchestrator.backends.base import BackendError, JobState, Submission
from orchestrator.backends.pool import exit_code, pool_process


class LocalBackend:
    """Runs packs as on a cluster: one process a pack, at most `lanes` at a time."""

    def submit(self, layout: Layout, submission: Submission) -> None:
        """Start the pool of a submission in a session of its own."""
        folder = layout.submission(submission.id)
        log = str(folder / "pool.log")
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # Not subprocess.Popen, which warns where its child is meant to outlive it.
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "orchestrator.backends.pool", str(folder)],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, append, 0o666),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        try:
            while not (folder / "pool.json").exists():
                ended, code = os.waitpid(pid, os.WNOHANG)
                if ended and code:
                    raise BackendError(f"the pool of processes did not start: see {log}")
                time.sleep(0.01)
        except KeyboardInterrupt:
            os.kill(pid, signal.SIGTERM)
            raise

    def states(self, layout: Layout, submission: Submission) -> Mapping[int, JobState]:
        """Return the state of every pack."""
        alive = self._pool(layout, submission) is not None
        return {
            pack: self._state(layout, submission, pack) if alive else "ended"
            for pack in range(submission.packs)
        }

    def cancel(self, layout: Layout, submission: Submission) -> None:
        """Let the running trials stop at their next step and wait for the pool's end.

        Raises BackendError where the pool runs on another host.
        """
        pool = self._pool(layout, submission)
        if pool is None:
            return
        if not pool.is_here:
            raise BackendError(
                f"submission {submission.id} runs on {pool.host} as {submission.user}: cancel it "
                "there"
            )
        os.kill(pool.pid, signal.SIGTERM)
        while self._pool(layout, submission) is not None:
            time.sleep(0.05)

    def _pool(self, layout: Layout, submission: Submission) -> Process | None:
        return pool_process(layout.submission(submission.id))

    def _state(self, layout: Layout, submission: Submission, pack: int) -> JobState:
        if exit_code(layout, submission.id, pack) is not None:
            return "ended"
        return "running" if layout.job_output(submission.id, pack).exists() else "queued"
